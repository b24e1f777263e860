"""Deletions that have ended, in the order in which they did: for exports of any size.

A deletion has ended once its cascade has in each child database: the last of these moments counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from django.db.models import Q

from ..log import tables
from ..log.kept import COUNTED_MAX
from ..models import Deletion, read_outcomes

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence

    from django.db.models import QuerySet

    from ..models import Cascade

#: Cascades that one statement looks at.
CASCADES = 500
#: Deletions that are held in memory: so many, or those of one cascade.
DELETIONS = 500


class Ended(NamedTuple):
    """A cascade that has ended."""

    pk: int
    ended_at: dt.datetime
    size: int


def ended(since: dt.datetime | None, until: dt.datetime, *, using: str) -> Iterator[list[Deletion]]:
    """Yield the deletions of one log that ended from `since` on and before `until`.

    Those that ended without a cascade come last. What came of them has been read.
    """
    for cascades in _cascades(since, until, using):
        for pks in _groups(cascades):
            yield from filter(None, [_last_ended_by(pks, using)])
    rows = tables.deletions(using).filter(batch__isnull=True, cancelled_at__lt=until)
    if since is not None:
        rows = rows.filter(cancelled_at__gte=since)
    last = 0
    while page := list(rows.filter(pk__gt=last).order_by("pk")[:DELETIONS]):
        read_outcomes(page, using=using)
        yield page
        last = page[-1].pk


def referring(reference: str, *, using: str) -> Iterator[list[Deletion]]:
    """Yield all deletions of one log with that reference, by their ids, ended or not."""
    rows, last = tables.deletions(using).filter(tables.referring(reference)), 0
    while page := list(rows.filter(pk__gt=last).order_by("pk")[:DELETIONS]):
        read_outcomes(page, using=using)
        yield page
        last = page[-1].pk


def unfinished(until: dt.datetime, *, using: str) -> int:
    """Return how many deletions were recorded before `until` and have not ended.

    Counting stops above `log.kept.COUNTED_MAX`.
    """
    most = COUNTED_MAX + 1
    number = tables.recorded(using).filter(recorded_at__lt=until).order_by()[:most].count()
    rows = tables.cascades(using).filter(ended_at__isnull=True, recorded_at__lt=until).order_by()
    ids = set[int]()
    for deletions in rows.values_list("deletions", flat=True).iterator(chunk_size=100):
        if number + len(ids) >= most:
            break
        ids.update(deletions)
    return min(number + len(ids), most)


def _cascades(since: dt.datetime | None, until: dt.datetime, using: str) -> Iterator[list[Ended]]:
    """Yield pages of the cascades that ended in that time, in the order in which they did."""
    rows = tables.cascades(using).filter(ended_at__lt=until).order_by("ended_at", "pk")
    if since is not None:
        rows = rows.filter(ended_at__gte=since)
    rest = rows
    while page := _page(rest):
        yield page
        last = page[-1]
        # The first condition is redundant. With it, the index leads to where the page begins.
        rest = rows.filter(
            Q(ended_at__gte=last.ended_at),
            Q(ended_at__gt=last.ended_at) | Q(ended_at=last.ended_at, pk__gt=last.pk),
        )


def _page(rows: QuerySet[Cascade]) -> list[Ended]:
    found = rows.values_list("pk", "ended_at", "size")[:CASCADES]
    return [Ended(pk, at, size) for pk, at, size in found if at is not None]


def _groups(cascades: Sequence[Ended]) -> Iterator[list[int]]:
    """Yield the ids of cascades that have up to `DELETIONS` deletions together. Pure."""
    group, size = list[int](), 0
    for cascade in cascades:
        if group and size + cascade.size > DELETIONS:
            yield group
            group, size = [], 0
        group.append(cascade.pk)
        size += cascade.size
    if group:
        yield group


def _last_ended_by(pks: Sequence[int], using: str) -> list[Deletion]:
    """Return the deletions whose last database is that of one of these cascades, in their order."""
    mine = tables.cascades(using).filter(tables.id_in("pk", pks, using))
    places = {
        (pk, database): place
        for place, (database, held) in enumerate(
            mine.order_by("ended_at", "pk").values_list("database", "deletions")
        )
        for pk in held
    }
    ids = sorted({pk for pk, _ in places})
    rows = list(tables.deletions(using).filter(tables.id_in("pk", ids, using)))
    read_outcomes(rows, using=using)
    found = [(places.get((row.pk, _last_database(row)), -1), row.pk, row) for row in rows]
    return [row for place, _, row in sorted(found, key=lambda each: each[:2]) if place >= 0]


def _last_database(row: Deletion) -> str:
    """Return the database in which a deletion ended last; "" where it has not in one. Pure."""
    moments = [(one.ended_at, one.database) for one in row.databases]
    known = [(at, database) for at, database in moments if at is not None]
    return max(known)[1] if known and len(known) == len(moments) else ""
