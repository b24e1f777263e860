"""Checks of each relation: its field, and the routers' answers about its two ends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.db import DEFAULT_DB_ALIAS, models

from .. import conf, relations
from ..models import KEY_CHARS
from ..relations import discovery, dry_run, homes, policies
from ..relations.columns import columns_of, underlying_field
from ..relations.keys import may_exceed
from ..relations.relation import label as label_of
from ..relations.relation import primary_key
from .scope import scoped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..relations import Relation
    from ..relations.content_types import UnknownHome

METHODS = ("db_for_read", "db_for_write")
#: Number of labels that a message names.
SHOWN = 3


def related(**_: Any) -> list[checks.CheckMessage]:
    """Return the `problems` of all relations, and those of ignored ones."""
    catalogue = relations.catalogue()
    found = [problem for relation in catalogue.relations for problem in problems(relation)]
    return found + [problem for relation in catalogue.ignored for problem in ignored(relation)]


def ignored(relation: Relation) -> Iterator[checks.CheckMessage]:
    """W034, and E003, E005 and E006: they concern writes, which are the same for ignored ones."""
    if relation.field.is_relation:
        yield from _constrained(relation)
        yield from _router_problems(relation)
    if relation.policy is not policies.Policy.DO_NOTHING:
        label, policy = relation.label, relation.policy
        yield checks.Warning(
            f"{label} is ignored ({relation.ignored}), but its on_delete is {policy}: between"
            f" databases, nothing does what {policy} says, and no receipt covers its rows.",
            hint=f"If its rows may stay: on_delete=DO_NOTHING on {label}, or silence this warning"
            f" if the model is not yours. If not: take {label!r} out of INTEGRITY['ignored'].",
            obj=relation.field,
            id="integrity.W034",
        )


def numbered_anew(**_: Any) -> list[checks.CheckMessage]:
    """W013: a key holds ids of content types, and it is unknown of which database."""
    return [
        checks.Warning(
            f"{key.label} holds ids of content types, and {_doubt(key)}: deleting a content type"
            " in another database leaves its rows alone, and no scan reads the key.",
            hint=f"{_remedy(key)} on_delete=DO_NOTHING on {key.label} says that this is right.",
            obj=key.field,
            id="integrity.W013",
        )
        for key in relations.catalogue().unknown_homes
        if policies.policy_of(key.field) is not policies.Policy.DO_NOTHING
        if not (key.pointers and key.declared)
    ]


def _doubt(key: UnknownHome) -> str:
    if key.pointers:
        return f"no setting says of which database (it belongs to {some(key.pointers)})"
    return f"{key.child_databases[0]!r} may have content types of its own, with other ids"


def _remedy(key: UnknownHome) -> str:
    if not key.pointers:
        return (
            "Keep one table of them, in your router's allow_migrate: if app_label =="
            f" 'contenttypes': return db != {key.child_databases[0]!r}."
        )
    tracked = relations.catalogue().parents.values()
    apart = (model for model in tracked if homes.databases_for(model) != key.child_databases)
    parent = next(apart, None)
    name = parent._meta.label if parent else settings.AUTH_USER_MODEL
    home = homes.databases_for(parent)[0] if parent else DEFAULT_DB_ALIAS
    return (
        "For each parent in another database, name the database whose ids the rows hold:"
        f' INTEGRITY = {{"relations": [Relation("{key.pointers[0]}", "{name}",'
        f' content_types="{home}")]}}.'
    )


def too_long(**_: Any) -> list[checks.CheckMessage]:
    """E022: a key, or a value that other rows refer to, may be too long for the deletion log."""
    errors = {
        underlying_field(field): _too_long(parent, field)
        for label, parent in relations.catalogue().parents.items()
        if not conf.current().is_off(label)
        for field in (primary_key(parent), *discovery.targets(parent))
        if may_exceed(field, KEY_CHARS)
    }
    return list(errors.values())


def _too_long(parent: relations.Model, field: relations.Field) -> checks.CheckMessage:
    kind = underlying_field(field)
    made, most = type(kind).__name__, KEY_CHARS
    if isinstance(kind, models.BinaryField):  # its text is Base64
        most = KEY_CHARS // 4 * 3
    elif not isinstance(kind, models.CharField):
        made = "CharField"
    return checks.Error(
        f"{label_of(kind)} ({type(kind).__name__}) may have more than {KEY_CHARS} characters as"
        f" text. The deletion log cannot hold such a key, so the delete of that"
        f" {parent._meta.label} is refused.",
        hint=f"In {kind.model._meta.label}: {kind.name} = {made}(..., max_length={most})",
        obj=kind,
        id="integrity.E022",
    )


def unanswered(**_: Any) -> list[checks.CheckMessage]:
    """E004: no router answers for a parent model. One message per model and method."""
    by_parent: dict[relations.Model, list[Relation]] = {}
    for relation in (*relations.catalogue().relations, *relations.catalogue().ignored):
        if relation.field.is_relation:
            by_parent.setdefault(relation.parent, []).append(relation)
    return [
        _unanswered(method, children)
        for parent, children in by_parent.items()
        for method in METHODS
        if homes.answer(method, parent) is None
    ]


def _unanswered(method: str, children: Sequence[Relation]) -> checks.CheckMessage:
    first, labels = children[0], some([relation.label for relation in children])
    return checks.Error(
        f"Every router returns None for {method}({first.parent._meta.label}): Django would look for"
        f" the parents of {labels} in the child's database.",
        hint=f"At the end of your router's {method}: return {first.parent_databases[0]!r}",
        obj=first.parent,
        id="integrity.E004",
    )


def problems(relation: Relation) -> Iterator[checks.CheckMessage]:
    """E003, E005, E006, E011, E015 and W001, of one relation. Queries no database."""
    if relation.field.is_relation:  # else Django neither joins nor assigns through it
        yield from _key_problems(relation)
        yield from _router_problems(relation)
    if not relation.indexed:
        label, made = relation.label, type(relation.field).__name__
        columns = [column.name for column in columns_of(relation.field)]
        yield checks.Warning(
            f"No index begins with {label}: each cascade reads the whole table, and no scan runs.",
            hint=f"In {label}: {made}(..., db_index=True)"
            if len(columns) == 1
            else f"In {relation.child._meta.label}: class Meta: indexes ="
            f" [models.Index(fields={columns})]",
            obj=relation.field,
            id="integrity.W001",
        )


def _constrained(relation: Relation) -> Iterator[checks.CheckMessage]:
    """E003: the key has a constraint."""
    field, label, made = relation.field, relation.label, type(relation.field).__name__
    home, elsewhere = relation.parent_databases[0], relation.child_databases[0]
    app = relation.child._meta.app_label
    hint = f"In {label}: {made}(..., db_constraint=False)"
    if _is_installed_package(relation.child):
        hint = f'Without editing that app: INTEGRITY = {{"unconstrained": [{app!r}]}}'
    if field.db_constraint:  # type: ignore[attr-defined]  # not in the stubs
        yield checks.Error(
            f"{label} has db_constraint=True: {elsewhere!r} cannot refer to rows in {home!r}.",
            hint=hint,
            obj=field,
            id="integrity.E003",
        )


def _is_installed_package(model: relations.Model) -> bool:
    """Return whether the model's app was installed by a tool such as pip."""
    path = Path(apps.get_app_config(model._meta.app_label).path)
    return not {"site-packages", "dist-packages"}.isdisjoint(path.parts)


def _key_problems(relation: Relation) -> Iterator[checks.CheckMessage]:
    field, label, made = relation.field, relation.label, type(relation.field).__name__
    home, elsewhere = relation.parent_databases[0], relation.child_databases[0]
    yield from _constrained(relation)
    if relation.policy.by_database:
        yield checks.Error(
            f"{label} has on_delete={relation.policy}: the database of the parents, {home!r},"
            f" cannot carry it out in {elsewhere!r}, so every delete of a"
            f" {relation.parent._meta.label} is refused.",
            hint=f"In {label}: {made}(..., on_delete=models.{relation.policy.removeprefix('DB_')})",
            obj=field,
            id="integrity.E011",
        )
    else:
        yield from _unusable(relation)


def _unusable(relation: Relation) -> Iterator[checks.CheckMessage]:
    """E015: the policy is unknown, so every delete of the parent is refused."""
    if reason := dry_run.unusable(relation.field, relation.child_databases[0]):
        yield checks.Error(
            f"{relation.label}: {reason}. Every delete of a {relation.parent._meta.label} is"
            " refused.",
            hint=f"{dry_run.REMEDY}.",
            obj=relation.field,
            id="integrity.E015",
        )


def _router_problems(relation: Relation) -> Iterator[checks.CheckMessage]:
    label = relation.label
    home, elsewhere = relation.parent_databases[0], relation.child_databases[0]
    rows = homes.hint(relation.parent, home), homes.hint(relation.child, elsewhere)
    for method in METHODS:
        yield from _followers(relation, method, *rows)
    if not homes.allows_relation(*rows):
        yield checks.Error(
            f"allow_relation() denies {label} ({elsewhere!r} to {home!r}): assigning raises.",
            hint="In your router: def allow_relation(self, obj1, obj2, **hints): return True",
            obj=relation.field,
            id="integrity.E005",
        )


def _followers(
    relation: Relation, method: str, parent: models.Model, child: models.Model
) -> Iterator[checks.CheckMessage]:
    """E006: given a row of one end, a router looks for the other end in that row's database."""
    parents, children = relation.parent_databases, relation.child_databases
    for model, right, beside, wrong in (
        (relation.parent, parents, child, children),
        (relation.child, children, parent, parents),
    ):
        answer = homes.answer_beside(method, model, beside)
        # Any other alias may be a replica.
        if answer in wrong and answer not in right:
            name, other = model._meta.label, beside._meta.label
            yield checks.Error(
                f"{method}({name}, instance=<{other} of {wrong[0]!r}>) is {answer!r}: a router"
                f" follows the instance, but {name} is in {right[0]!r}.",
                hint=f"In your router's {method}, before it looks at hints['instance']:"
                f" if model._meta.label == {name!r}: return {right[0]!r}",
                obj=relation.field,
                id="integrity.E006",
            )


def some(labels: Sequence[str]) -> str:
    """Return the first labels, and the number of the others."""
    more = [f"{len(labels) - SHOWN} more"] if len(labels) > SHOWN else []
    return ", ".join([*labels[:SHOWN], *more])


CHECKS = scoped(unanswered, related, numbered_anew, too_long)
