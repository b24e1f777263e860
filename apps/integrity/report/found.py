"""Finds the deletions of a filter over an index: all of them, or where a page begins to look.

Note [All or an edge]: an index that holds little but the cascades of a state is read from one end,
up to a bound. If that was all of it, the ids are exact, whatever their order, and so is their
number. Else a page begins at the edge of what was read, goes from id to id, and offers the other
side as well: batches overlap, so no index of cascades has the order of ids.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db.models import BooleanField, ExpressionWrapper, Max, Min, Q, QuerySet

from .. import relations
from ..backends.first_rows import first_rows
from ..log import names, tables
from ..models import Cascade, Deletion
from ..models.moments import ServerNow
from . import limits
from .filters import Shown, fits_in_one

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All ids, ascending, if `whole`; else a page begins at `edge`, if any.

    `many` is whether they are known to be more than `limits.COUNT_MAX`.
    """

    ids: Sequence[int]
    whole: bool
    edge: int | None = None
    many: bool = False


class _Row(NamedTuple):
    """What is read of a cascade."""

    database: str
    id: int
    batch: int
    parent: str
    size: int
    state: str
    attempts: int
    failing: Any
    kept_at: dt.datetime | None
    acknowledged_at: dt.datetime | None

    @property
    def left_rows(self) -> bool:
        return self.failing is not None

    @property
    def is_unacknowledged(self) -> bool:
        return self.kept_at is not None and self.acknowledged_at is None


COLUMNS = _Row._fields[1:]


class _Source(NamedTuple):
    """Cascades in the order of an index: of each database, or of all of them."""

    condition: Q
    order: str
    by_database: bool = True


_BACKLOG = _Source(Cascade.IN_BACKLOG, "recorded_at")
_WAITING = _Source(Q(state=Cascade.State.WAITING), "batch", by_database=False)
# A claim is due again when its lease ends.
_CLAIMED = _Source(Q(state__in=Cascade.CLAIMABLE, due_at__gt=ServerNow()), "due_at")
#: Filter → the indexes that have its cascades: models/cascades.py.
_SOURCES: dict[str, tuple[_Source, ...]] = {
    Shown.PENDING: (_BACKLOG,),
    Shown.LATE: (_BACKLOG,),
    Shown.WORKING: (_CLAIMED,),
    Shown.FAILING: (_WAITING, _CLAIMED),
    Shown.WAITING: (_WAITING,),
    Shown.BLOCKED: (_Source(Q(state=Cascade.State.BLOCKED), "pk"),),
    Shown.UNPROVEN: (_Source(Q(state=Cascade.State.DONE), "due_at"),),
    Shown.KEPT: (
        _Source(Q(state=Cascade.State.KEPT), "batch", by_database=False),
        _Source(Cascade.UNACKNOWLEDGED, "database"),
    ),
    Shown.CANCELLED: (_Source(Q(state=Cascade.State.CANCELLED), "batch", by_database=False),),
}
#: Filters that have deletions without a cascade.
_ALONE = {
    Shown.RECORDED: (Deletion.IS_RECORDED, ("parent", "relation", "pk")),
    Shown.LATE: (Deletion.IS_RECORDED, ("parent", "relation", "pk")),
    Shown.CANCELLED: (Q(cancelled_at__isnull=False), ("cancelled_at",)),
}


def find(shown: str, database: str, parent: str, *, ascending: bool, using: str) -> Found | None:
    """Return the deletions of that filter; None if no index has them."""
    if not (shown or database):
        return _all(parent, using)
    if shown not in _SOURCES and shown not in _ALONE:
        return None
    alone, alone_whole = _alone(shown, database, parent, ascending=ascending, using=using)
    rows, rows_whole = _cascades(shown, database, ascending=ascending, using=using)
    hits = [row for row in rows if _fits(row, shown, database, parent)]
    whole = alone_whole and rows_whole and sum(row.size for row in hits) <= limits.PAGE_IDS
    edge = [
        row.id for row in sorted(hits or rows, key=lambda row: row.batch, reverse=not ascending)
    ]
    wanted = [row.id for row in hits] if whole else edge[: limits.EDGE_CASCADES]
    ids = sorted({*alone, *_deletions_of(wanted, using)})
    if whole:
        return Found(ids=ids, whole=True)
    start = (ids[0] if ascending else ids[-1]) if ids else None
    many = len(alone) + sum(row.size for row in hits) > limits.COUNT_MAX
    return Found(ids=(), whole=False, edge=start, many=many)


def _fits(row: _Row, shown: str, database: str, parent: str) -> bool:
    return (
        (not database or row.database == database)
        and (not parent or row.parent == parent)
        and fits_in_one(row, shown)
    )


def _all(parent: str, using: str) -> Found:
    """Return the deletions of a parent, or of all, if they are few."""
    rows = tables.deletions(using)
    rows = rows.filter(parent=parent).order_by("key") if parent else rows.order_by("pk")
    ids = sorted(rows.values_list("pk", flat=True)[: limits.COUNT_MAX + 1])
    many = len(ids) > limits.COUNT_MAX
    return Found(ids=() if many else ids, whole=not many, many=many)


def _alone(
    shown: str, database: str, parent: str, *, ascending: bool, using: str
) -> tuple[list[int], bool]:
    """Return deletions without a cascade, and whether these are all."""
    if shown not in _ALONE or database:
        return [], True
    condition, order = _ALONE[Shown(shown)]
    rows = tables.deletions(using).filter(condition)
    rows = rows.order_by(*(name if ascending else f"-{name}" for name in order))
    read = list(rows.values_list("pk", "parent")[: limits.PAGE_CASCADES + 1])
    ids = [pk for pk, label in read if not parent or label == parent]
    return ids, len(read) <= limits.PAGE_CASCADES


def _cascades(
    shown: str, database: str, *, ascending: bool, using: str
) -> tuple[Collection[_Row], bool]:
    """Return cascades that may be of that filter, in that database or all; and if they are all."""
    found, whole = dict[int, _Row](), True
    for source in _SOURCES.get(shown, ()):
        order = source.order if ascending else f"-{source.order}"
        rows = tables.cascades(using).filter(source.condition).order_by(order)
        if source.by_database:
            read, is_whole = _of_each(rows, database, using)
        else:
            read = [*map(_Row._make, rows.values_list("database", *COLUMNS)[: _most() + 1])]
            is_whole = len(read) <= _most()
        found |= {row.id: row for row in read}
        whole = whole and is_whole
    return found.values(), whole


def _of_each(rows: QuerySet[Cascade], database: str, using: str) -> tuple[list[_Row], bool]:
    known = {*relations.catalogue().places, *names.open_databases(using=using)}
    databases = [database] if database else sorted(known)
    most = _most() // max(1, len(databases)) + 1
    picked = first_rows(rows, databases, most, *COLUMNS)
    read = [*map(_Row._make, picked.values_list("database", *COLUMNS))]
    return read, all(number < most for number in Counter(row.database for row in read).values())


def _most() -> int:
    return limits.PAGE_CASCADES


def _deletions_of(cascades: Sequence[int], using: str) -> Iterable[int]:
    if not cascades:
        return set[int]()
    rows = tables.cascades(using).filter(tables.id_in("pk", sorted(cascades), using))
    return {pk for ids in rows.values_list("deletions", flat=True) for pk in ids}


def ends(using: str) -> tuple[int, int]:
    """Return the ids of the oldest and of the newest deletion of a log; 0 if it is empty."""
    found: dict[str, Any] = tables.deletions(using).aggregate(low=Min("pk"), high=Max("pk"))
    return found["low"] or 0, found["high"] or 0


def recorded_before(seconds: float, using: str) -> int:
    """Return the id below which deletions were recorded at least so long ago.

    Ids follow the order of the records, but for transactions at the same time. So it halves the
    range of ids, with one row of the key's index for each step.
    """
    is_old = Q(recorded_at__lte=ServerNow() - dt.timedelta(seconds=seconds))
    rows = tables.deletions(using).order_by("pk")
    marked = rows.annotate(old=ExpressionWrapper(is_old, BooleanField()))
    low, high = ends(using)
    high += 1
    while low < high:
        middle = (low + high) // 2
        next_row = marked.filter(pk__gte=middle).values_list("pk", "old").first()
        if next_row is not None and next_row[1]:
            low = next_row[0] + 1
        else:
            high = middle
    return low
