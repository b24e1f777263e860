"""Reading and writing rows whose parents live in another database.

Both functions narrow a race and do not close it. `alive()` hides rows of deleted parents until the
cascade has removed them. `validate_on_save()` refuses most references to missing parents. Cascades
and scans remove what still gets through. Nothing here changes a row.
"""

from __future__ import annotations

import itertools
import operator
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from django.apps import apps
from django.db import connections
from django.db.models import Model, QuerySet
from django.db.models.signals import pre_save

from . import relations
from .backends import lookups as backends_lookups
from .exceptions import InvalidKey, MissingParent
from .exceptions.loggers import logger_of
from .log import tables
from .relations import keys, stored
from .relations.columns import columns_of
from .relations.generic import content_type_condition, lookups, with_content_type
from .relations.policies import Policy
from .relations.relation import primary_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from .models import Deletion
    from .relations import Relation

logger = logger_of("integrity.reading")

#: `alive()` reads at most this many recorded and this many dispatched deletions of each log.
OPEN_MAX = 1_000

Row = TypeVar("Row", bound=Model)
Rows = TypeVar("Rows", bound=QuerySet[Any])


class AliveQuerySet(QuerySet[Row]):
    """A queryset with `.alive()`: `objects = AliveQuerySet.as_manager()`."""

    def alive(self) -> Self:
        """Return the rows without those that a deletion is about to remove: see `alive`."""
        return alive(self)


def alive(rows: Rows) -> Rows:
    """Return `rows` without those that a recorded deletion is about to remove.

    It hides rows whose parent's deletion has committed and is not verified yet, along each relation
    of their model with the policy CASCADE. It does not hide rows that the policy keeps (SET_NULL
    and the others), rows that only a scan suspects, or rows that refer to a hidden row of their own
    database.

    Args:
        rows: An unsliced queryset of a child model.

    Returns an ordinary queryset of the child's database with a `NOT IN` of keys. It can be
    filtered, counted, sliced and paged. Call `alive()` again for each request.

    The call runs two bounded queries in each log of the parents, two more where cascades are open,
    and none in the parents' tables. On SQLite, it runs more in a log.
    A generic relation with open deletions needs one more query, for its content type.

    The result is a snapshot: it reflects what had committed when `alive()` was called. Of each log
    it reads the newest `OPEN_MAX` recorded and the newest `OPEN_MAX` dispatched deletions of those
    parents. In a longer backlog, rows of older deletions are visible again, and a warning is
    logged. Rows of a parent that was created again under a deleted key stay hidden until its
    deletion has ended as kept.

    Raises:
        DatabaseError: the log's database cannot be queried.
    """
    cascading = [
        relation
        for relation in relations.catalogue().relations
        if relation.policy is Policy.CASCADE and issubclass(rows.model, relation.child)
    ]
    logs = dict.fromkeys(alias for relation in cascading for alias in relation.parent_databases)
    deletions = [deletion for alias in logs for deletion in _open_deletions(cascading, alias)]
    for relation in cascading:
        if gone := list(_held_keys(relation, deletions)):
            field = with_content_type(relation).field
            rows = rows.exclude(stored.referring(field, gone, rows.db), **lookups(field))
    return rows


def _open_deletions(cascading: Collection[Relation], using: str) -> list[Deletion]:
    """Return the newest open deletions of a log that cascade along one of those relations.

    Recorded ones first: those that are dispatched meanwhile are in the log, and read, already. Each
    query follows a partial index by parent, relation and id, so that the limits also bound the rows
    that are read.
    """
    labels: dict[str, set[str]] = {}
    for relation in cascading:
        if using in relation.parent_databases:
            labels.setdefault(relation.parent._meta.label, {""}).add(relation.label)
    names = [(parent, label) for parent, of in labels.items() for label in sorted(of)]
    columns = ("pk", "parent", "key", "targets", "relation")
    recorded = tables.recorded(using).only(*columns)
    newest = _newest(recorded, names, "pk", OPEN_MAX + 1)
    if len(newest) > OPEN_MAX:
        _warn(using)
    ids = _dispatched(names, using)
    dispatched = tables.deletions(using).filter(tables.id_in("pk", ids, using))
    return newest[:OPEN_MAX] + (list(dispatched.only(*columns)) if ids else [])


def _warn(using: str) -> None:
    logger.warning(
        "more than %d open deletions in %s: rows of the older ones are not hidden", OPEN_MAX, using
    )


def _dispatched(names: Collection[tuple[str, str]], using: str) -> list[int]:
    """Return ids of the newest dispatched deletions of those names.

    Cascades are read without their deletions until it is known which are enough: one has up to a
    thousand.
    """
    unended = tables.cascades(using).filter(ended_at__isnull=True)
    most = (OPEN_MAX + 1) * max(len(relations.catalogue().places), 1)
    cascades = _newest(unended.only("pk", "batch", "database", "size"), names, "batch", most)
    wanted, sizes = list[int](), Counter[str]()
    for _, batch in itertools.groupby(cascades, operator.attrgetter("batch")):
        for cascade in batch:
            wanted.append(cascade.pk)
            sizes[cascade.database] += cascade.size
        if max(sizes.values()) > OPEN_MAX:
            break
    if not wanted:
        return []
    rows = tables.cascades(using).filter(tables.id_in("pk", wanted, using))
    ids = sorted({pk for ids in rows.values_list("deletions", flat=True) for pk in ids})
    if len(ids) > OPEN_MAX or len(cascades) == most:
        _warn(using)
    return ids[-OPEN_MAX:]


def _newest(
    rows: QuerySet[Row], names: Collection[tuple[str, str]], by: str, most: int
) -> list[Row]:
    """Return the newest rows of all those names together.

    One query where the database can limit the parts of a union.
    """
    parts = [
        rows.filter(parent=parent, relation=relation).order_by(f"-{by}")[:most]
        for parent, relation in names
    ]
    if len(parts) > 1 and connections[rows.db].features.supports_slicing_ordering_in_compound:
        first, *others = parts
        parts = [first.union(*others, all=True)]
    found = [row for part in parts for row in part]
    return sorted(found, key=operator.attrgetter(by), reverse=True)[:most]


def _held_keys(relation: Relation, deletions: Collection[Deletion]) -> Iterator[Any]:
    """Yield the key values of the rows that those deletions remove along the relation."""
    by_pk = relation.target == primary_key(relation.parent)
    label, labels = relation.parent._meta.label, {"", relation.label}
    for deletion in deletions:
        if deletion.parent != label or deletion.relation not in labels:
            continue
        text = deletion.key if by_pk else (deletion.targets or {}).get(relation.target.name)
        if text is None:
            continue
        try:
            key = keys.parse_key(relation.target, text)
        except InvalidKey:  # recorded before a migration changed the field's type
            continue
        yield keys.to_stored(relation.field, key)


def validate_on_save(*names: str) -> None:
    """Make `save()` refuse references to missing parents. Call it once, in `AppConfig.ready()`.

    Args:
        names: The labels of relations, such as "blog.Post.author". Default: all relations.

    From then on, each `save()` that writes the key first queries the parents' primary database,
    without custom managers: one query per relation and parent database, even when the key has not
    changed. A generic relation needs one more query, for its content type. The query runs before
    the INSERT or UPDATE. If the parent does not exist, `save()` raises `MissingParent`, which is an
    `IntegrityError`. It also raises the errors of the queried databases.

    This narrows the race and does not close it: the parent may be deleted between the query and the
    commit. Writes without `save()` are not checked: `bulk_create`, `update()`, `add()` of
    many-to-many fields, fixtures and raw SQL. Nor is a key that is an expression (`F("other")`).

    Raises:
        UnknownName: a name that is not the label of a relation.
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
    """Receive `pre_save`. Raise `MissingParent` if the key to be written has no parent."""
    columns = columns_of(relation.field)
    names = {name for column in columns for name in (column.name, column.attname)}
    if raw or (update_fields is not None and not names & {*update_fields}):
        return
    field = with_content_type(relation).field
    if any(
        getattr(instance, column.attname) != value
        for column, value in content_type_condition(field).items()
    ):
        return  # it refers to a row of another model
    value = getattr(instance, field.attname)
    if value is None or hasattr(value, "resolve_expression"):
        return
    try:
        key = keys.from_stored(field, keys.parse_key(field, value))
    except InvalidKey:  # Django reports it when it writes
        return
    if key is None:  # a text that is no key
        return
    if not backends_lookups.existing(relation.target, {0: key}, relation.parent_databases):
        raise MissingParent(relation.label, keys.format_key(relation.target, key))
