"""Done cascades → probed once more → verified, kept, or back to work.

Takes cascades whose grace period is over; marks them `verified`, with the proof in the receipt. A
cascade whose value belongs to a living row by now ends as kept: see Note [Keys that come back] in
live_check.py.

Note [The barrier]: a child row may be inserted by a transaction that began before the parent's
delete and commits after the cascade. The cascade noted the child database's next transaction after
its last check. Once every transaction before that one has ended, what was invisible then is visible
or gone. (A transaction that had not written yet has no number: the scan finds what it leaves.)
A barrier of another server is taken anew, and the grace period with it (Note [Numbers of one
server] in backends/barriers.py).

MySQL and MariaDB have no barriers. There, keys without rows are asked for once more in a way that
meets rows which are not committed (Note [Locking probe] in backends/mysql/barriers.py). Deletions
of such a key stay done until the transaction has ended. SQLite has one writer at a time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from django.db import Error, connections

from .. import backends, conf, failpoints, relations
from ..backends import missing_tables
from ..backends.barriers import BarrierState, describe_blocker, state_of
from ..backends.connections import CONNECTION_ERRORS, given_up, watched
from ..backends.errors import Trouble, database_of, trouble_of, words_of
from ..backends.transactions import atomic
from ..control import circuit_breaker, identity, pacing, refusals, restores
from ..exceptions import DatabaseHindered
from ..exceptions.failures import isolated
from ..exceptions.loggers import logger_of
from ..exceptions.redaction import reason_of_error
from ..failpoints import Failpoint
from ..log import outcomes, proofs, tallies
from ..log.kept import keep
from . import live_check, proving
from .verified import Verified

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..backends.barriers import Barrier, Horizon
    from ..backends.connections import Interrupts
    from ..log.values import Claim


logger = logger_of("integrity.verify")


def verify(
    database: str,
    *,
    seconds: float | None = None,
    interruptions: Interrupts = (),
) -> Verified:
    """Probe the cascades into `database` that are due, from every log, until time is up.

    Arguments as for `cascade.drain`. Cascades whose probe fails are reopened. The worker then meets
    the same error for each of them, and lets it wait or blocks it with the reason. A probe that met
    a lock is repeated soon. A probe that took too long is repeated for half as many cascades.
    """
    catalogue = relations.catalogue()
    if database in catalogue.along_steps:
        return proving.verify(database, seconds=seconds, interruptions=interruptions)
    done = Verified(database=catalogue.database(database))
    done.quiet = pacing.quiet_reason(done.database)
    if done.quiet:
        return done
    deadline = time.monotonic() + (conf.current().run_seconds if seconds is None else seconds)
    interrupts = (*CONNECTION_ERRORS, *interruptions)
    access = circuit_breaker.Access(done.database, interrupts)
    for using in access:
        with access.work(using):
            _verify_log(using, deadline, done, interrupts)
    done.unreachable = access.reason
    return done


def _verify_log(using: str, deadline: float, done: Verified, interrupts: Interrupts) -> None:
    settings = conf.current()
    log = identity.of_log(using) if tallies.is_kept_in(done.database) else None
    with watched(done.database):
        now = backends.barrier_backend(done.database).horizon(using=done.database)
    unnoted = set[int]()  # cascades that stay due, because the failure could not be noted
    uncommitted = 0  # deletions that wait for an open transaction
    while not done.more:
        claim = proofs.due_done(
            done.database,
            now=now,
            using=using,
            limit=settings.claim_keys,
            log=log,
            besides=unnoted,
        )
        if claim is None:
            due = _Due.read(done.database, using) if now is not None else _Due()
            behind = _left_behind(done.database, due, using, uncommitted=uncommitted > 0)
            done.held = behind or done.held
            if log is not None:
                what = f"tidying the tallies in {done.database}"
                with isolated(what, passing=interrupts), watched(done.database):
                    tallies.tidy(done.database, log=log, using=using)
            return
        try:
            with watched(done.database):
                left, kept, changing = _probe(claim, interrupts, barriers=now is not None)
                failpoints.hit(Failpoint.PROBED)
                if (folded := _fold(claim)) is None:
                    return
                claim = folded
                done.reopened += outcomes.reopen(claim, sorted(left), "rows came after the cascade")
                done.kept += len(keep(claim, kept))
                uncommitted += outcomes.hold(claim, sorted(changing)) if changing else 0
                remaining = left | kept.keys() | changing
                clean = [pk for pk in claim.ids if pk not in remaining]
                done.verified += outcomes.verify(claim, clean)
        except interrupts as raised:
            slow = not isinstance(raised, DatabaseHindered)
            if slow and database_of(raised) != claim.using:
                outcomes.delay(claim, halved=True)
            raise
        except Exception as error:  # noqa: BLE001 (one that fails must not stop the others)
            unnoted.update(claim.cascades)
            with isolated(f"noting a failure in {done.database}", passing=interrupts):
                done.reopened += _failed(error, claim)
                unnoted.difference_update(claim.cascades)
        done.more = time.monotonic() >= deadline


def _fold(claim: Claim) -> Claim | None:
    """Return the claim with the rows that its database has counted by now, and note them.

    They are more than the log says where a worker that had lost its claim has changed rows. Return
    None where they are fewer, and pause the database: it was restored from a backup.
    """
    counts = tallies.counted(claim)
    if lost := tallies.lost(claim, counts):
        evidence = restores.Evidence(uncounted=len(lost), unknown=0)
        reason = restores.reason_of(evidence, claim.database, claim.using)
        replayed = partial(_is_put_back, claim, {*lost})
        refusals.refuse_restored(claim.database, reason, replayed, using=claim.using)
        outcomes.delay(claim)
        return None
    rows = tallies.folded({one.id: one.rows for one in claim.deletions}, counts)
    if any(rows[one.id] != one.rows for one in claim.deletions):
        tallies.correct(outcomes.claimed(claim), rows, using=claim.using)
    return claim.with_rows(rows)


def _is_put_back(claim: Claim, lost: set[int]) -> bool:
    """Return whether none of those deletions is any more as the claim found it."""
    held = outcomes.claimed(claim).values_list("deletions", flat=True)
    return not any(lost & {*deletions} for deletions in held)


@dataclass(frozen=True, slots=True)
class _Due:
    """Barriers of cascades that are due, by cascade, and the horizon of their server.

    The horizon was read after the barriers. An older one would be below the barriers that another
    worker has taken meanwhile, which would look like those of another server.
    """

    barriers: Mapping[int, Barrier | None] = field(default_factory=dict)
    now: Horizon | None = None

    @classmethod
    def read(cls, database: str, using: str) -> _Due:
        limit = conf.current().claim_keys
        barriers = proofs.due_barriers(database, using=using, limit=limit)
        if not barriers:
            return cls()
        with watched(database):
            return cls(barriers, backends.barrier_backend(database).horizon(using=database))

    def those(self, state: BarrierState) -> list[int]:
        """Return the cascades whose barrier is in that state."""
        barriers = self.barriers.items()
        return [pk for pk, barrier in barriers if state_of(barrier, self.now) is state]


def _left_behind(database: str, due: _Due, using: str, *, uncommitted: bool) -> str:
    """Return and note what due cascades that no claim took wait for, or "".

    Barriers of another server are taken anew, as long as some are due. `uncommitted` says that some
    were taken, and wait for rows of an open transaction.
    """
    while foreign := due.those(BarrierState.FOREIGN):
        with watched(database):
            renewed = backends.barrier_backend(database).new_barrier(using=database)
        if renewed is None or not proofs.renew_barriers(database, foreign, renewed, using=using):
            break
        logger.warning("%s: %d barriers of another server taken anew", database, len(foreign))
        due = _Due.read(database, using)
    held = [barrier.number for pk in due.those(BarrierState.HELD) if (barrier := due.barriers[pk])]
    reason = _what_holds(database, max(held) if held else None) if held or uncommitted else ""
    with isolated(f"noting what holds {database}", passing=(DatabaseHindered,)):
        circuit_breaker.write_held_reason(database, reason, using=using)
    return reason


def _what_holds(database: str, number: int | None) -> str:
    """Return in words what holds a barrier with that number; "" where it has ended by now.

    None stands for uncommitted rows, where there are no barriers.
    """
    backend = backends.barrier_backend(database)
    try:
        with watched(database):
            if number is None:
                return backend.describe_holder(using=database)
            blocker = backend.blocker(using=database)
    except Error as error:
        return f"waits for an older transaction, which cannot be seen: {reason_of_error(error)}"
    return describe_blocker(blocker) if blocker and blocker.number < number else ""


def _failed(error: Exception, claim: Claim) -> int:
    """Delay a probe that met a lock or was too large; reopen others. Return the number reopened."""
    vendor = connections[database_of(error) or claim.database].vendor
    trouble = trouble_of(error, vendor)
    halved = trouble is Trouble.TOO_LARGE and len(claim.deletions) > 1
    if halved or trouble is Trouble.CONTENTION:
        logger.warning("%s: probe again: %s", claim.database, words_of(error, vendor))
        outcomes.delay(claim, halved=halved)
        return 0
    why, code = missing_tables.describe(error, live_check.relations_of(claim), claim.database)
    reason = f"verification failed: {why}"
    logger.error("%s in %s%s", reason, claim.database, code)
    return outcomes.reopen(claim, claim.ids, reason)


def _probe(
    claim: Claim, interrupts: Interrupts, *, barriers: bool
) -> tuple[set[int], dict[int, dict[str, int]], set[int]]:
    """Return the deletions with rows left, the others that keep rows, and those to ask again.

    Of those that keep rows, it returns the rows. The last ones have no rows that are committed, but
    an open transaction has changed some: see Note [The barrier]. With `barriers` there are none.
    """
    live = live_check.LiveClaim(claim)
    left = _left(live, interrupts)
    kept = {pk: rows for pk, rows in _kept(live).items() if pk not in left}
    if barriers or not connections[claim.database].features.has_select_for_update_nowait:
        return left, kept, set()
    return left, kept, _uncommitted(live, interrupts) - left - kept.keys()


def _uncommitted(live: live_check.LiveClaim, interrupts: Interrupts) -> set[int]:
    """Return the deletions whose rows an open transaction has changed, along any relation."""
    with given_up(live.claim.database, interrupts):
        return set[int]().union(*map(live.uncommitted_along, live.relations))


def _kept(live: live_check.LiveClaim) -> dict[int, dict[str, int]]:
    """Return the cascades that leave rows alone, or did so before, with relations and rows."""
    kept = {pk: dict(one.kept) for pk, one in live.deletions.items() if one.kept}
    for relation in live.relations:
        for pk, number in live.kept_along(relation).items():
            kept.setdefault(pk, {})[relation.label] = number
    return kept


def _left(live: live_check.LiveClaim, interrupts: Interrupts) -> set[int]:
    """Return the cascades that have rows left. Wait at most `lock_seconds` for a table.

    Where nothing can be locked (SQLite), a transaction could take the write lock, so there is none.
    """
    database = live.claim.database
    if not connections[database].features.has_select_for_update:
        return live.unfinished(live.relations)
    backend, seconds = backends.row_backend(database), conf.current().lock_seconds
    with (
        backend.own_session(using=database),
        atomic(database),
        given_up(database, interrupts),
    ):
        backend.begin_step(lock_seconds=seconds, using=database)
        return live.unfinished(live.relations)
