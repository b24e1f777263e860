"""A child database older than its log: the cascades that finished since are put back to work.

Nothing is deleted here. Workers follow these cascades as they follow new ones, with the live check
before each commit, and verify them anew.

Note [Since when]: the child lacks what was committed after the moment of its backup. A cascade of
which the child has the counts was committed there before, so that moment is not before the dispatch
of the newest one that finished before all whose counts are lost. All that finished after this
dispatch is put back, also where the child has lost nothing that can be seen: a row may have moved
away from a deleted parent after the backup, and is back. Only times of the log's clock are
compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...backends import clocks
from ...backends.connections import reach, watched
from ...control import actions, identity, restores
from ...log import tallies, undone
from ...models import ChildDatabase

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence

    from ...log.tallies import Sums
    from ...models import Cascade

#: Where a replay is not done at all: the child belongs to other parents.
UNTIL_RESUMED = (ChildDatabase.Pause.IDENTITY_MISMATCH,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """What the child lacks: of how many cascades the counts, and since when (None: always)."""

    cascades: int
    since: dt.datetime | None


@dataclass(slots=True, kw_only=True)
class Replayed:
    """What a replay of one log in one child database found or did."""

    database: str
    log: str
    #: By the counts that the child has lost.
    lost: int = 0
    #: Of cascades that finished since then; None for all that the log has.
    since: dt.datetime | None = None
    deletions: int = 0
    batches: set[int] = field(default_factory=set)
    #: Whether work on the database goes on that was paused because of the restore.
    resumed: bool = False
    #: Why it is still paused, or why nothing was done; or "".
    reason: str = ""

    def count(self, cascades: Sequence[Cascade]) -> None:
        """Count cascades that are, or would be, put back."""
        self.deletions += sum(one.size for one in cascades)
        self.batches |= {one.batch for one in cascades}


def lost_in(database: str, *, using: str) -> Lost | None:
    """Return what the child lacks of the newest cascades; None where it has all their counts.

    See Note [Since when]. Only reads: until a page without a loss.
    """
    number, since = 0, None
    for page in undone.newest_counted(database, using=using):
        sums, before = _sums(page, database), number
        for cascade in page:
            if undone.lost_of(cascade, sums):
                number, since = number + 1, None
            elif number and since is None:
                since = cascade.dispatched_at
        if number == before:
            break
    return Lost(cascades=number, since=since) if number else None


def outlook(database: str, *, using: str, since: dt.datetime | None) -> Replayed:
    """Return what a replay would put back. Changes nothing."""
    done = _found(database, using, since)
    for page, _ in pages(done, since):
        done.count(page)
    return done


def replay(database: str, *, using: str, since: dt.datetime | None, actor: str) -> Replayed:
    """Put back to work what the child has lost; or what finished since then, if that is given.

    Ends the pause because of a restore once the log and the child agree. Audited. See Note [Marks]
    and Note [Evidence goes last] in log/undone.py for a replay that is run twice, or dies.
    """
    done = _found(database, using, since)
    if done.reason:
        return done
    try:
        _put_back(done, since)
    finally:  # what an error or Ctrl-C cut short has changed something, too
        if done.deletions:
            reason = f"{done.deletions:,} deletions in {len(done.batches):,} batches put back"
            actions.audit("replay", database, actor=actor, reason=reason, using=using)
    # Not asked before: a worker may have noticed the restore meanwhile. See Note [Noticed late].
    if actions.kind_of_pause(database, using=using) == ChildDatabase.Pause.RESTORED:
        done.reason = restores.reason(database, using=using)
        if not done.reason:
            why = "the log and the database agree after a replay"
            done.resumed = actions.resume(database, actor=actor, reason=why, using=using)
    return done


def pages(done: Replayed, since: dt.datetime | None) -> Iterator[tuple[list[Cascade], Sums]]:
    """Yield pages of the cascades that are to be put back, with the counts of the child."""
    if done.reason or not (done.lost or since):
        return
    for page in undone.finished_since(done.database, done.since, using=done.log):
        if page:
            yield page, _sums(page, done.database)
    for page in undone.open_with_rows(done.database, using=done.log):
        sums = _sums(page, done.database)
        if lost := [one for one in page if undone.lost_of(one, sums)]:
            yield lost, sums


def _found(database: str, using: str, since: dt.datetime | None) -> Replayed:
    """Return what is known before anything is put back."""
    reach(database)
    done = Replayed(database=database, log=using, since=since)
    if actions.kind_of_pause(database, using=using) in UNTIL_RESUMED:
        done.reason = actions.paused_reason(database, using=using)
        return done
    with watched(database):
        for home in identity.answering_homes(database, using):
            if mismatch := identity.mismatch(database, using=home):
                done.reason = str(mismatch)
                return done
        if not tallies.is_kept_in(database):
            done.reason = f"run `manage.py migrate --database {database}` first"
            return done
        if lost := lost_in(database, using=using):
            done.lost = lost.cascades
            done.since = since or lost.since
    return done


def _put_back(done: Replayed, since: dt.datetime | None) -> None:
    if done.lost or since:
        log = identity.of_log(done.log)
        undone.reopen_found(done.database, log=log, using=done.log)
    mark, noticed_at = None, _noticed_at(done.database, done.log)
    for page, sums in pages(done, since):
        if mark is None:
            log = identity.of_log(done.log)
            mark = tallies.mark(tallies.REPLAYED, done.database, log=log)
        done.count(undone.put_back(page, sums, mark=mark, noticed_at=noticed_at, using=done.log))


def _noticed_at(database: str, using: str) -> str:
    """Return when the restore was noticed, by the log's clock: now, unless it was before."""
    rows: Any = ChildDatabase.objects.using(using).filter(
        alias=database, paused_kind=ChildDatabase.Pause.RESTORED
    )
    at = rows.values_list("paused_at", flat=True).first() or clocks.now(using)
    return str(at.isoformat())


def _sums(page: Sequence[Cascade], database: str) -> Sums:
    wanted = {one.tally for one in page if one.tally}
    return tallies.sums_of(wanted, database=database) if wanted else {}
