"""Cascades that a restore of their database has undone, put back to work.

Note [Marks]: before a replay changes the log, it writes a mark into the ledger of the child, and
then the mark's number into each cascade that it puts back. If the child still has the mark, that
cascade was put back since the last restore, and no further replay does it again. A restore from an
older backup takes the mark away, too.

Note [Evidence goes last]: the counts that the child has lost are what shows that it was restored.
So the cascades without rows, about which nothing shows, are put back before those with rows: a
replay that dies between two transactions is noticed, and its successor finds the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import Q

from ..backends.transactions import atomic, retried
from ..models import Cascade
from ..models.moments import ServerNow
from . import beside, findings, outcomes, tables, tallies

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

    from django.db.models import QuerySet

    from .tallies import Sums

#: Cascades of a page, which is read at once and changed in one transaction.
PAGE = 200
#: Over, but for those that were cancelled: their rows were to stay.
FINISHED = (Cascade.State.DONE, Cascade.State.VERIFIED, Cascade.State.KEPT)
#: The columns of a cascade on which nobody has worked yet.
FRESH: Mapping[str, Any] = {
    "state": Cascade.State.PENDING,
    "due_at": ServerNow(),
    "attempts": 0,
    **dict.fromkeys(["owner", "reason", "barrier_server"], ""),
    **dict.fromkeys(["claim", "barrier", "failing", "scope", "done_at", "verified_at", "ended_at"]),
    **dict.fromkeys(["kept", "kept_at", "acknowledged_at"]),
}


def newest_counted(database: str, *, using: str) -> Iterator[list[Cascade]]:
    """Yield pages of the finished cascades whose rows the child counts, the newest first."""
    rows = _finished(database, using).filter(rows__isnull=False, tally__isnull=False)
    yield from _pages(rows, newest_first=True)


def finished_since(
    database: str, since: dt.datetime | None, *, using: str
) -> Iterator[list[Cascade]]:
    """Yield pages of the cascades that finished since then, or of all.

    Those that were put back since the last restore are left out: Note [Marks]. For the order, see
    Note [Evidence goes last].
    """
    rows = _finished(database, using)
    if since is not None:
        rows = rows.filter(done_at__gte=since)
    for has_none in (True, False):
        for page in _pages(rows.filter(rows__isnull=has_none)):
            yield _without_marks(page, database)


def open_with_rows(database: str, *, using: str) -> Iterator[list[Cascade]]:
    """Yield pages of the cascades that have changed rows which the child counts, and go on."""
    rows = tables.cascades(using).filter(
        Cascade.IN_BACKLOG, database=database, rows__isnull=False, tally__isnull=False
    )
    begin = 0
    while page := list(rows.filter(pk__gt=begin).order_by("pk")[:PAGE]):
        yield page
        begin = page[-1].pk


def _finished(database: str, using: str) -> QuerySet[Cascade]:
    return tables.cascades(using).filter(
        database=database, state__in=FINISHED, done_at__isnull=False
    )


def _pages(rows: QuerySet[Cascade], *, newest_first: bool = False) -> Iterator[list[Cascade]]:
    """Yield the rows in the order of `done_at`."""
    sign, beyond = ("-", "lt") if newest_first else ("", "gt")
    rows, further = rows.order_by(f"{sign}done_at", f"{sign}pk"), Q()
    while page := list(rows.filter(further)[:PAGE]):
        yield page
        last = page[-1]
        further = Q(**{f"done_at__{beyond}": last.done_at}) | Q(
            done_at=last.done_at, **{f"pk__{beyond}": last.pk}
        )


def _without_marks(page: Sequence[Cascade], database: str) -> list[Cascade]:
    marks = {one.undone[-1]["mark"] for one in page if one.undone}
    held = {str(mark) for mark in tallies.held_in(database, marks)} if marks else set()
    return [one for one in page if not (one.undone and one.undone[-1]["mark"] in held)]


def lost_of(cascade: Cascade, sums: Sums) -> list[int]:
    """Return its deletions of which the child counts less than the log, by those sums. Pure."""
    counted = sums.get(cascade.tally, {}) if cascade.tally else {}
    known = cascade.rows or {}
    return [
        pk
        for pk in cascade.deletions
        if cascade.tally
        and sum(known.get(str(pk), {}).values()) > sum(counted.get(pk, {}).values())
    ]


@retried
def put_back(
    page: Sequence[Cascade], sums: Sums, *, mark: UUID, noticed_at: str, using: str
) -> list[Cascade]:
    """Let those cascades begin anew, with the rows that the child still counts by `sums`.

    Return those that nobody has changed since they were read. One transaction. Claims of workers
    are void. Erasure steps go on with the deletions: their findings were restored, too, or lost.
    """
    read = {one.pk: one.done_at for one in page}
    changed = list[Cascade]()
    with atomic(using):
        named = tables.cascades(using).filter(tables.id_in("pk", [*read], using)).order_by("pk")
        for cascade in tables.locked(named, using, skip_locked=False):
            is_same = cascade.done_at == read[cascade.pk]
            if is_same and (cascade.done_at is None or cascade.state in FINISHED):
                columns = _put_back(cascade, sums, str(mark), noticed_at)
                tables.cascades(using).filter(pk=cascade.pk).update(**columns)
                changed.append(cascade)
        beside.reopen_steps([pk for one in changed for pk in one.deletions], using=using)
    return changed


@retried
def reopen_found(database: str, *, log: UUID, using: str) -> None:
    """Let steps erase again what a child database holds as found.

    Rows may have gone before the backup, and what belongs to them may have been erased after it.
    It is back if its store was restored as well, and no cascade of the rows is put back.
    """
    for rows, deletions in findings.of_log(database, log=log):
        findings.forget_erased(rows, deletions)
        with atomic(using):
            beside.reopen_steps(deletions, using=using)


def _put_back(cascade: Cascade, sums: Sums, mark: str, noticed_at: str) -> dict[str, Any]:
    """Return the columns of a cascade that is put back."""
    counted = sums.get(cascade.tally, {}) if cascade.tally else {}
    rows = {pk: dict(counted.get(pk, {})) for pk in cascade.deletions}
    undone = {
        "mark": mark,
        "noticed_at": noticed_at,
        "done_at": cascade.done_at and cascade.done_at.isoformat(),
        "verified_at": cascade.verified_at and cascade.verified_at.isoformat(),
        "lost": lost_of(cascade, sums),
    }
    return {
        **FRESH,
        "rows": outcomes.document(rows, cascade.deletions),
        "undone": [*(cascade.undone or []), undone],
    }
