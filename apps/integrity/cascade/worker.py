"""Claimed cascades of one database → bounded steps per relation → counts.

Works on each claim for a time slice (time_slice.py), and writes the rows removed per relation to
the log. What failed is treated by what the error means: released to be tried again soon, released
until an operator has removed the cause, or bisected until the failing cascade is found.

Note [Time slices]: a claim works for `turn_seconds`. Keys that still have rows then go to the end
of the queue with their progress, so a deletion with millions of rows never holds up the one behind
it. Nor those of its batch: finished ones are split off, and so are those at which the last step
worked. These come after the others, in claims of their own.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import Error

from .. import conf, failpoints, relations
from ..backends import connections
from ..backends.batch_size import BatchSizes
from ..conf.steps import is_step
from ..control import circuit_breaker, identity, pacing
from ..exceptions import DatabaseHindered
from ..exceptions.failures import isolated
from ..exceptions.loggers import Origin, logger_of
from ..failpoints import Failpoint
from ..log import beside, claims, outcomes, tallies
from . import erasing, lease, live_check
from .blockers import Blocker, Fate, blocker_of, fate, reason_of, were_locked
from .drained import Drained
from .time_slice import TimeSlice

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from ..backends.connections import Interrupts
    from ..control.circuit_breaker import Access
    from ..log.values import Claim

logger = logger_of("integrity.cascade")

#: A failing claim may be bisected for this long after its time slice. The rest is tried again after
#: other claims.
BISECT_SECONDS = 5.0


def drain(
    database: str,
    *,
    seconds: float | None = None,
    interruptions: Interrupts = (),
    owner: str = "",
    again: bool = False,
) -> Drained:
    """Work on the due cascades of `database`, from every log, until none is due or time is up.

    `seconds` defaults to the setting `run_seconds`. A database that cannot be reached is noted in
    the log, with the reason; its cascades stay pending and lose no attempt. So is one that does
    not answer before one of `interruptions` is raised, as a task's time limit does.

    `owner` names the task that asks. Where it runs `again` (the broker delivered its message once
    more, because the process that had it died), it takes over at once what it had claimed.
    """
    catalogue = relations.catalogue()
    if database in catalogue.along_steps:
        return erasing.drain(
            database, seconds=seconds, interruptions=interruptions, owner=owner, again=again
        )
    database = catalogue.database(database)
    interrupts = (*connections.CONNECTION_ERRORS, *interruptions)
    settings = conf.current()
    deadline = time.monotonic() + (settings.run_seconds if seconds is None else seconds)
    run = _Run(Drained(database=database), deadline, interrupts, settings, catalogue.along_steps)
    run.done.quiet = pacing.quiet_reason(database)
    if run.done.quiet:
        return run.done
    access = circuit_breaker.Access(database, interrupts, writes=True)
    for using in access:
        with access.work(using):
            if again:
                claims.take_over(database, owner=owner, using=using)
            run.drain(access, using, owner)
    run.done.unreachable = access.reason or run.done.unreachable
    return run.done


def steps_of(claim: Claim) -> list[str]:
    """Return where the erasure steps of the claim's deletions have their cascades."""
    places = relations.catalogue().databases_of(claim.parent, claim.relation)
    return [place for place in places if is_step(place)]


@dataclass(slots=True)
class _Run:
    """Claims of one child database at work, one after the other; `done` is what came of it."""

    done: Drained
    deadline: float
    interrupts: Interrupts
    settings: conf.Settings
    #: Where the project's erasure steps have their cascades.
    steps: Collection[str]
    #: Those of the log at hand.
    batch_sizes: BatchSizes = field(init=False)
    pacer: pacing.Pacer = field(init=False)
    #: When the time slice of the claim at hand is over.
    until: float = field(init=False)

    def drain(self, access: Access, using: str, owner: str) -> None:
        """Work on claims from one log, until none is due or time is up."""
        settings, database = self.settings, self.done.database
        log = identity.of_log(using) if tallies.is_kept_in(database) else None
        self.pacer = pacing.Pacer(database, using=using, interrupts=self.interrupts)
        self.batch_sizes = BatchSizes(
            settings.statement_rows,
            most=settings.statement_rows_max,
            seconds=settings.statement_seconds,
            saved=access.step_rows[using],
            # A database with limits may be busier than it was: its batches grow anew.
            database="" if self.pacer.limited else database,
        )
        try:
            while not self.done.more:
                if not self.pacer.rest(self.deadline):  # without a claim, that others may need
                    self.done.quiet = pacing.quiet_reason(database)
                    self.done.more = not self.done.quiet
                    return
                claim = claims.claim(
                    database,
                    using=using,
                    limit=settings.claim_keys,
                    lease_seconds=settings.lease_seconds,
                    owner=owner,
                    log=log,
                )
                if claim is None:
                    return
                failpoints.hit(Failpoint.CLAIMED)
                if self.steps and (places := steps_of(claim)):
                    beside.add_missing(claim, places)
                self.until = min(self.deadline, time.monotonic() + settings.turn_seconds)
                with lease.renewed(claim, lease_seconds=settings.lease_seconds):
                    self.work(claim, skip_locked=were_locked(claim))
                access.healed(using)
                self.done.more = time.monotonic() >= self.deadline
        finally:
            with contextlib.suppress(Error, DatabaseHindered):
                self.pacer.flush()
            self.batch_sizes.end()
            if (ceilings := self.batch_sizes.ceilings_to_save()) is not None:
                with contextlib.suppress(Error):  # else the next run measures them again
                    circuit_breaker.remember_step_rows(database, ceilings, using=using)

    def work(self, claim: Claim, *, skip_locked: bool) -> None:
        """Work on the claim for its time slice, and put back what is stuck."""
        time_slice = TimeSlice(
            claim,
            self.until,
            self.batch_sizes,
            self.done.rows,
            interrupts=self.interrupts,
            pacer=self.pacer,
            skip_locked=skip_locked,
        )
        stuck: Mapping[int, tuple[Blocker, ...]] = {}
        interruption: Exception | None = None
        try:
            stuck = self._stuck(time_slice)
        except self.interrupts as raised:
            interruption = raised
        self.done.rows = time_slice.progress.rows
        self.done.finished += time_slice.finished
        self.done.kept += time_slice.kept
        if interruption is not None or stuck:
            claim = claim.with_rows(time_slice.progress.removed)
        if interruption is not None and not self._waits(claim, interruption):
            self._interrupted(claim, time_slice.steps.too_slow)
            raise interruption
        if stuck:
            self._put_back(claim.only(stuck), stuck)

    def _stuck(self, time_slice: TimeSlice) -> Mapping[int, tuple[Blocker, ...]]:
        """Return the blockers of each deletion that the slice could not finish."""
        claim = time_slice.claim
        try:
            return time_slice.run()
        except self.interrupts:
            raise
        except Exception as error:  # noqa: BLE001 (one that fails must not stop the others)
            connections.require_working(claim.database, error)
            blocker = blocker_of(error, live_check.relations_of(claim), claim.database)
            return dict.fromkeys(claim.ids, (blocker,))

    def _waits(self, claim: Claim, raised: Exception) -> bool:
        """Release a claim if only a database of its parents is hindered; return if it did."""
        here = {claim.database, claim.using}
        if not isinstance(raised, DatabaseHindered) or raised.database in here:
            return False
        self.done.unreachable = reason = circuit_breaker.log_wait(claim.database, raised)
        outcomes.release(claim, reason=reason, waits=True)
        return True

    def _interrupted(self, claim: Claim, too_slow: Collection[int]) -> None:
        """Put the claim back; count an attempt of what is too slow: [One row alone], time_slice.py.

        If its log is unreachable, the lease expires instead.
        """
        slow, others = claim.only(too_slow), claim.only({*claim.ids}.difference(too_slow))
        with contextlib.suppress(Error, DatabaseHindered):
            outcomes.postpone(slow, "a single row takes longer than the time limit")
            outcomes.release(others)

    def _put_back(self, claim: Claim, stuck: Mapping[int, tuple[Blocker, ...]]) -> None:
        """Put each deletion back by its fate; bisect where several fail."""
        fates = {pk: fate(stuck[pk]) for pk in claim.ids}
        failed = [pk for pk in claim.ids if fates[pk] in {Fate.BISECT, Fate.COUNT}]
        if len(failed) > 1 and time.monotonic() >= self.until + BISECT_SECONDS:
            fates |= dict.fromkeys(failed, Fate.SOON)
            failed = []
        for wanted in (Fate.SOON, Fate.WAIT):
            self._release(claim, [pk for pk in fates if fates[pk] is wanted], stuck)
        if len(failed) == 1:
            self._postpone(claim.only(failed), stuck[failed[0]])
        elif failed:
            skip_locked = any(fates[pk] is not Fate.COUNT for pk in failed)
            self._bisect(claim.only(failed), skip_locked=skip_locked)

    def _release(
        self, claim: Claim, deletions: Sequence[int], stuck: Mapping[int, tuple[Blocker, ...]]
    ) -> None:
        """Put deletions back uncounted, those with the same blockers at once."""
        rows = {deletion.id: deletion.rows for deletion in claim.deletions}
        groups: dict[tuple[Blocker, ...], list[int]] = {}
        for pk in deletions:
            groups.setdefault(stuck[pk], []).append(pk)
        for blockers, group in groups.items():
            waits, reason = fate(blockers) is Fate.WAIT, reason_of(blockers)
            failing = {blocker.relation: blocker.reason for blocker in blockers}
            kept = {pk: rows[pk] for pk in group}
            if waits:
                logger.error("cascades into %s wait: %s", claim.database, reason)
            with self._noting(claim):
                outcomes.release(claim, kept, reason=reason, failing=failing, waits=waits)

    def _postpone(self, claim: Claim, blockers: tuple[Blocker, ...]) -> None:
        """Count a failed attempt of the claim's only deletion."""
        reason = reason_of(blockers)
        failing = {blocker.relation: blocker.reason for blocker in blockers}
        # No traceback of the logger's: it ends with the error's text, which may quote rows.
        code = Origin("".join(dict.fromkeys(blocker.code for blocker in blockers)))
        logger.error("cascades into %s failed: %s%s", claim.database, reason, code)
        self.done.failed += 1
        with self._noting(claim):
            outcomes.postpone(claim, reason, failing)

    @contextlib.contextmanager
    def _noting(self, claim: Claim) -> Iterator[None]:
        """Log an error of the block, which records a claim's outcome. Its lease then expires."""
        what = f"noting a failure in {claim.database}"
        with isolated(what, passing=self.interrupts), connections.watched(claim.using):
            yield

    def _bisect(self, claim: Claim, *, skip_locked: bool) -> None:
        middle = len(claim.ids) // 2
        try:
            for half in (claim.ids[:middle], claim.ids[middle:]):
                self.work(claim.only(half), skip_locked=skip_locked)
        except self.interrupts:
            with contextlib.suppress(Error, DatabaseHindered):
                outcomes.release(claim)  # the half that was not begun, with what it had lost before
            raise
