"""The ledgers in the child databases: which parents' rows were erased there, by their keys.

A log that was restored from a backup no longer has its newest deletions. The ledgers still name
those that had rows in a child database. Reads only; the rows are those of log/tallies.py.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, NamedTuple

from django.db.models import Q

from ..models import Deletion, Tally
from . import tables, tallies
from .values import NOTHING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from uuid import UUID

#: Rows of a ledger that are read at once; each names up to a thousand deletions.
PAGE = 50


class Erased(NamedTuple):
    """A deletion as a ledger names it."""

    database: str
    tally: UUID
    parent: str
    #: The relation along which a scan found it, or "".
    relation: str
    key: str | None
    #: The values of the parent's other fields that rows in this database may have held.
    targets: Mapping[str, str | None]
    #: By the clock of the child's server.
    at: dt.datetime

    @property
    def name(self) -> tuple[str, str | None]:
        """Return what names the parent."""
        return self.parent, self.key


def unknown_to_log(
    database: str, *, log: UUID, using: str, since: dt.datetime
) -> Iterator[list[Erased]]:
    """Yield what the ledger names, the newest first, and the log does not.

    It does not know the batch, and has no deletion of this parent since. `since` bounds it by the
    time of the child's server.
    """
    rows = Tally.objects.using(database).filter(log=log, batch__gt=tallies.ACCEPTED, at__gte=since)
    further = Q()
    while page := list(rows.filter(further).order_by("-at", "-pk")[:PAGE]):
        known = tallies.known_in(using, [row.batch for row in page])
        lacking = [row for row in page if not {row.tally, None} & known.get(row.batch, set())]
        yield _not_recorded_again(_entries(lacking, database), using)
        last = page[-1]
        further = Q(at__lt=last.at) | Q(at=last.at, pk__lt=last.pk)


def unsettled(database: str, wanted: Collection[UUID], *, using: str) -> set[UUID]:
    """Return those of the tallies that name a parent which was not recorded again since.

    All those that name nothing are among them.
    """
    rows = list(Tally.objects.using(database).filter(tally__in=sorted(wanted)))
    nameless = {row.tally for row in rows if not row.keys}
    return nameless | {one.tally for one in _not_recorded_again(_entries(rows, database), using)}


def newest_of(parent: str, key: str, *, using: str) -> int | None:
    """Return the id of the newest deletion of that key in the log, or None."""
    rows = tables.deletions(using).filter(parent=parent, key=key).order_by("-pk")
    return rows.values_list("pk", flat=True).first()


def _entries(rows: Sequence[Tally], database: str) -> list[Erased]:
    return [
        Erased(
            database,
            row.tally,
            row.parent,
            row.relation,
            key,
            (row.targets or NOTHING).get(pk, NOTHING),
            row.at,
        )
        for row in rows
        for pk, key in (row.keys or NOTHING).items()
    ]


def _not_recorded_again(erased: Sequence[Erased], using: str) -> list[Erased]:
    """Return those without a deletion in the log that was recorded later.

    One statement for each model. The clocks of two servers are compared. If they differ, an entry
    is returned that has one, and none is left out for a deletion that was recorded before.
    """
    recorded = dict[tuple[str, str | None], dt.datetime]()
    for parent in {one.parent for one in erased}:
        keys = {one.key for one in erased if one.parent == parent and one.key is not None}
        rows = Deletion.objects.using(using).filter(parent=parent, key__in=sorted(keys))
        for key, at in rows.values_list("key", "recorded_at"):
            recorded[parent, key] = max(at, recorded.get((parent, key), at))
    return [one for one in erased if one.name not in recorded or recorded[one.name] < one.at]
