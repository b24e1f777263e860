"""Reading and writing rows whose parents live in another database.

Takes querysets and names of relations; changes no row. What it says of parents is as old as its
question: `alive()` shortens the time in which rows of deleted parents show, `validate_on_save()`
the time in which a reference to a missing parent gets in. Cascade and scan deal with the rest.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from django.apps import apps
from django.db.models import Model, QuerySet
from django.db.models.signals import pre_save

from . import relations
from .backends import lookups as backends_lookups
from .exceptions import InvalidKey, MissingParent
from .exceptions.loggers import logger_of
from .models import Deletion
from .relations import keys, stored
from .relations.columns import columns_of
from .relations.generic import content_type_condition, lookups, with_content_type
from .relations.policies import Policy
from .relations.relation import primary_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from .relations import Relation

logger = logger_of("integrity.reading")

#: Open deletions that `alive()` looks at, in each log: so many recorded, so many dispatched.
OPEN_MAX = 1_000

Row = TypeVar("Row", bound=Model)
Rows = TypeVar("Rows", bound=QuerySet[Any])


class AliveQuerySet(QuerySet[Row]):
    """A queryset with `.alive()`: `objects = AliveQuerySet.as_manager()`."""

    def alive(self) -> Self:
        """The rows, without those that a recorded deletion is about to remove; see `alive`."""
        return alive(self)


def alive(rows: Rows) -> Rows:
    """The rows, without those that a recorded deletion is about to remove.

    Hidden are rows whose parent's deletion has committed and is not yet verified, for each relation
    of their model with the policy CASCADE. Not hidden is what a deletion keeps (SET_NULL and the
    others), what only a scan suspects, and what merely refers to a hidden row of its own database.

    Two bounded queries in each log of the parents, when it is called, and none to the parents (for
    a generic relation with open deletions, one for its content type). It
    gives an ordinary queryset of the child's database, to filter, count, slice and page: a
    `NOT IN` of keys. Call it anew for each request, and before slicing.

    It promises nothing: it knows what had committed when it asked, and of that the newest
    `OPEN_MAX` recorded and the newest `OPEN_MAX` dispatched deletions in each log, whatever model
    they are of. In a longer backlog the rows of older ones show again, and a warning is logged.
    A parent that was made anew under a deleted key stays hidden until its deletion has ended as
    kept. Raises the errors of the log's database.
    """
    cascading = [
        each
        for each in relations.catalogue().relations
        if each.policy is Policy.CASCADE and issubclass(rows.model, each.child)
    ]
    logs = dict.fromkeys(alias for each in cascading for alias in each.parent_databases)
    deletions = [each for alias in logs for each in _open_deletions(alias)]
    for relation in cascading:
        if gone := list(_held_keys(relation, deletions)):
            field = with_content_type(relation).field
            rows = rows.exclude(stored.referring(field, gone, rows.db), **lookups(field))
    return rows


def _open_deletions(using: str) -> list[Deletion]:
    """The newest open deletions of a log.

    Two queries, each along a partial index by id: so the limit bounds what is read, not only what
    is found. A condition on the parent's model would not let it.
    """
    found: list[Deletion] = []
    for states in ([Deletion.State.RECORDED], [Deletion.State.DISPATCHED, Deletion.State.CASCADED]):
        rows = Deletion.objects.using(using).filter(state__in=states).order_by("-id")
        newest = list(rows.only("parent", "key", "targets", "relation")[: OPEN_MAX + 1])
        if len(newest) > OPEN_MAX:
            logger.warning(
                "more than %d open deletions in %s: rows of the older ones are not hidden",
                OPEN_MAX,
                using,
            )
        found += newest[:OPEN_MAX]
    return found


def _held_keys(relation: Relation, deletions: Collection[Deletion]) -> Iterator[Any]:
    """What the rows hold that those deletions remove along the relation."""
    by_pk = relation.target == primary_key(relation.parent)
    for each in deletions:
        if each.parent != relation.parent._meta.label or each.relation not in {"", relation.label}:
            continue
        text = each.key if by_pk else (each.targets or {}).get(relation.target.name)
        if text is None:
            continue
        try:
            key = keys.parse_key(relation.target, text)
        except InvalidKey:  # recorded before a migration made another field of it
            continue
        yield keys.to_stored(relation.field, key)


def validate_on_save(*names: str) -> None:
    """Refuse to save references to missing parents, along relations such as "blog.Post.author".

    Without names: along all of them. Call it once, in an `AppConfig.ready()`. From then on each
    `save()` that writes the key asks the parents' primary database, past all managers: one query
    for each relation (and database, where parents live in several), also when the key has not
    changed, and for a generic relation one more, for its content type. It runs before the INSERT
    or UPDATE and raises `MissingParent`, an `IntegrityError`, or the errors of those databases.

    It narrows the window and does not close it: the parent may go between the question and the
    commit. What calls no `save()` is not asked about: `bulk_create`, `update()`, `add()` of
    many-to-many fields, fixtures, raw SQL; nor is a key that is an expression (`F("other")`).

    Raises `UnknownName`.
    """
    catalogue = relations.catalogue()
    for relation in map(catalogue.relation, names) if names else catalogue.relations:
        for model in apps.get_models(include_auto_created=True):
            if issubclass(model, relation.child):
                pre_save.connect(
                    partial(_validate, relation),
                    sender=model,
                    weak=False,
                    dispatch_uid=f"integrity.validate_on_save.{relation.label}",
                )


def _validate(
    relation: Relation,
    instance: Model,
    *,
    raw: bool,
    update_fields: Collection[str] | None,
    **_: object,
) -> None:
    """`pre_save`: raise `MissingParent` where the key that is about to be written has no parent."""
    names = {name for each in columns_of(relation.field) for name in (each.name, each.attname)}
    if raw or (update_fields is not None and not names & {*update_fields}):
        return
    field = with_content_type(relation).field
    if any(
        getattr(instance, each.attname) != held
        for each, held in content_type_condition(field).items()
    ):
        return  # it refers to a row of another model
    value = getattr(instance, field.attname)
    if value is None or hasattr(value, "resolve_expression"):
        return
    try:
        key = keys.from_stored(field, keys.parse_key(field, value))
    except InvalidKey:  # Django says so itself, when it writes
        return
    if key is None:  # a text that refers to nobody
        return
    if not backends_lookups.existing(relation.target, {0: key}, relation.parent_databases):
        raise MissingParent(relation.label, keys.format_key(relation.target, key))
