"""Fields and models that cannot work across databases, or that lose deletions there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from django.apps import apps
from django.core import checks
from django.db import connections, models

from .. import conf, relations
from ..relations import plan, policies
from ..relations.columns import generic_of
from ..relations.homes import databases_for
from ..relations.relation import concrete, label
from ..relations.resolve import is_generic_foreign_key
from .keys import some
from .scope import scoped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..relations import Field, Model

    #: The keys that a database carries out: label → field and policy.
    Silent: TypeAlias = Mapping[str, tuple[Field, policies.Policy]]


def linked(**_: Any) -> list[checks.CheckMessage]:
    """E007: a ManyToManyField whose two models and links are not in one database."""
    return [
        checks.Error(
            f"{label(field)} is a ManyToManyField between databases ({_where(*models)}):"
            " its .all() and .set() JOIN them.",
            hint=_instead_of(field),
            obj=field,
            id="integrity.E007",
        )
        for model in _models()
        for field in model._meta.local_many_to_many
        if not isinstance(field.related_model, str)
        if (models := (model, _through(field), field.related_model)) and _scattered(*models)
    ]


def _instead_of(field: Any) -> str:
    source, target, through = field.model, field.related_model, _through(field)
    if not through._meta.auto_created:
        return f"Remove {label(field)}, and read {through._meta.label} with prefetch_related()."

    def key(to: Model) -> str:
        more = ", db_constraint=False" if _scattered(through, to) else ""
        return f"models.ForeignKey({to._meta.label!r}, models.CASCADE{more})"

    names = source._meta.model_name, target._meta.model_name
    left, right = names if names[0] != names[1] else (f"from_{names[0]}", f"to_{names[1]}")
    return (
        f"Use a model of its own instead, with {left} = {key(source)} and {right} = {key(target)}."
    )


def inherited(**_: Any) -> list[checks.CheckMessage]:
    """E008: multi-table inheritance whose tables are not in one database."""
    return [
        checks.Error(
            f"{model._meta.label} inherits from {base._meta.label}, which lives in another database"
            f" ({_where(model, base)}): neither can be read or saved.",
            hint=f"{model._meta.label}(models.Model) with"
            f" {base._meta.model_name} = models.OneToOneField({base._meta.label!r},"
            " models.CASCADE, primary_key=True, db_constraint=False)",
            obj=model,
            id="integrity.E008",
        )
        for model in _models()
        for base, link in model._meta.parents.items()
        if link and link.model is model and _scattered(model, base)
    ]


def reached_generically(**_: Any) -> list[checks.CheckMessage]:
    """E009: a GenericRelation into another database, which Django follows in a delete."""
    return [
        checks.Error(
            f"{label(field)} is a GenericRelation into another database ({_where(model, related)}):"
            f" deleting a {model._meta.label} looks for {related._meta.label} beside it, and"
            " fails.",
            hint=f"Remove {label(field)}, and declare the relation:"
            f" {_setting(related, field.object_id_field_name, model)}",
            obj=field,
            id="integrity.E009",
        )
        for model in _models()
        for field in model._meta.private_fields
        if hasattr(field, "bulk_related_objects") and getattr(field, "model", None) is model
        if not isinstance(related := field.related_model, str) and _scattered(model, related)
    ]


def pointing_anywhere(**_: Any) -> list[checks.CheckMessage]:
    """W003: a GenericForeignKey that may point to a parent elsewhere; nothing follows it.

    Silent once one of its parents is declared: its author has thought of them.
    """
    return [
        checks.Warning(
            f"{label(field)} may point to {some(elsewhere)}, in other databases than"
            f" {databases_for(model)[0]!r}: no deletion there cascades to it.",
            hint="For each model that it points to, as in:"
            f" {_setting(model, field.fk_field, relations.catalogue().parents[elsewhere[0]])}",
            obj=field,
            id="integrity.W003",
        )
        for model in _models()
        for field in model._meta.private_fields
        if is_generic_foreign_key(field) and field.model is model and not _is_declared(field)
        if (elsewhere := _parents_apart_from(model, but=field.ct_field))
    ]


def _is_declared(field: Any) -> bool:
    return any(
        generic.name == field.name
        for relation in relations.catalogue().relations
        if relation.child is field.model and (generic := generic_of(relation.field))
    )


def _setting(child: Model, fk_field: str, parent: Model) -> str:
    """Return the setting that declares a relation by a GenericForeignKey with that column."""
    pointers = (field for field in child._meta.private_fields if is_generic_foreign_key(field))
    names = [field.name for field in pointers if field.fk_field == fk_field] or ["content_object"]
    return (
        f'INTEGRITY = {{"relations": [Relation("{child._meta.label}.{names[0]}",'
        f' "{parent._meta.label}", content_types="{databases_for(parent)[0]}")]}}'
    )


def _parents_apart_from(model: Model, *, but: str) -> list[str]:
    """Return tracked parents in other databases, without the one that `but` points to."""
    known = {field.name: field.related_model for field in model._meta.fields}
    parents = relations.catalogue().parents
    return [
        name
        for name, parent in parents.items()
        if parent is not known.get(but) and _scattered(model, parent)
    ]


def unconstrained(**_: Any) -> list[checks.CheckMessage]:
    """W006: db_constraint=False inside one database, where a constraint would work.

    Silent with a single database: the project may have more of them elsewhere.
    """
    if len(list(connections)) == 1:
        return []
    return [
        checks.Warning(
            f"{label(field)} has db_constraint=False, but both its ends are in"
            f" {databases_for(model)[0]!r}, which could prevent orphans by a constraint.",
            hint=f"In {label(field)}: {type(field).__name__}(...) without db_constraint=False. If"
            " its ends should be in different databases, no router says so yet.",
            obj=field,
            id="integrity.W006",
        )
        for model in _models()
        if model._meta.managed
        for field in (*model._meta.local_fields, *model._meta.local_many_to_many)
        if _needless(field)
    ]


def _needless(field: Any) -> bool:
    related = field.related_model
    if not related or isinstance(related, str) or not related._meta.managed:
        return False
    flagged = field if hasattr(field, "db_constraint") else field.remote_field
    return not getattr(flagged, "db_constraint", True) and not _scattered(field.model, related)


def unsignalled(**_: Any) -> list[checks.CheckMessage]:
    """W008: a database deletes rows of parents without a signal, or rows that nobody counts."""
    silent = {
        label(field): (field, policy)
        for field in _keys()
        if isinstance(field, models.ForeignKey)
        and (policy := policies.policy_of(field)).by_database
    }
    missed = {**_unrecorded(silent), **_uncounted(silent)} if silent else {}
    return [
        checks.Warning(
            f"{name} has on_delete={(policy := silent[name][1])}: {consequence}",
            hint=f"In {name}: {type(field := silent[name][0]).__name__}(...,"
            f" on_delete=models.{policy.removeprefix('DB_')}){remedy}",
            obj=field,
            id="integrity.W008",
        )
        for name, (consequence, remedy) in missed.items()
    ]


def _uncounted(silent: Silent) -> dict[str, tuple[str, str]]:
    """Return what is not counted of the rows below cascades: key → (what, "")."""
    missed: dict[str, tuple[str, str]] = {}
    for relation in relations.catalogue().relations:
        if relation.policy is policies.Policy.CASCADE:
            found = plan.plan_for(relation)
            why = f" ({found.reason})" if found.reason else ""
            consequence = (
                f"if a cascade along {relation.label} reaches its rows, the database changes them"
                f" all at once, and no receipt counts them{why}."
            )
            missed |= dict.fromkeys(
                (name for name in found.uncounted if name in silent), (consequence, "")
            )
    return missed


def _unrecorded(silent: Silent) -> dict[str, tuple[str, str]]:
    """Return the keys by which a database deletes parents: key → (what is lost, the remedy)."""
    catalogue, settings = relations.catalogue(), conf.current()
    missed: dict[str, tuple[str, str]] = {}
    for parent_label, parent in catalogue.parents.items():
        followed = some([relation.label for relation in catalogue.children_of(parent_label)])
        if not followed or settings.by_trigger(parent_label) or settings.is_off(parent_label):
            continue
        consequence = (
            f"a {parent_label} that is deleted this way sends no signal and is not recorded, so"
            f" rows of {followed} stay until a scan finds them."
        )
        remedy = f', or INTEGRITY = {{"capture": {{"{parent_label}": "both"}}}} (PostgreSQL)'
        names = map(label, parent._meta.local_fields)
        missed |= {
            name: (consequence, remedy)
            for name in names
            if name in silent and silent[name][1].deletes
        }
    return missed


def _models() -> Iterator[Model]:
    return (model for model in apps.get_models() if not model._meta.proxy)


def _keys() -> Iterator[Field]:
    return (
        field for model in _models() for field in model._meta.local_fields if field.remote_field
    )


def _through(field: Any) -> Model:
    through: Model = field.remote_field.through
    return through


def _scattered(*models: Model) -> bool:
    """Return whether the models do not all have the same homes."""
    return len({frozenset(databases_for(concrete(model))) for model in models}) > 1


def _where(*models: Model) -> str:
    homes = {model._meta.label: ", ".join(databases_for(model)) for model in models}
    return "; ".join(f"{name} in {aliases}" for name, aliases in homes.items())


CHECKS = scoped(
    linked,
    inherited,
    reached_generically,
    pointing_anywhere,
    unconstrained,
    unsignalled,
)
