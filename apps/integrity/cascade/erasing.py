"""Claimed cascades of an erasure step → what it found is erased → done.

What a step found is in the child databases, since the rows went (gathering.py). It is erased as
soon as it is there. A deletion is done when its rows are gone and verified in every database, and
nothing is left that was found before. See Note [Rows first].

Note [Rows first]: whether the rows are gone is read before the findings. Where a database's cascade
had ended then, all its findings were committed, and are read.

Note [A failed erasure]: it is an attempt of each deletion that it was about. Cascades that failed
are claimed in smaller parts each time, so that in the end only those are blocked that fail alone.
After a failure, the rest of the claim waits: whatever refuses one may refuse all.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import Error

from .. import conf, failpoints, relations
from ..backends.connections import CONNECTION_ERRORS, reach, tolerated, watched
from ..conf.steps import name_of
from ..control import circuit_breaker, identity, pacing, refusals
from ..exceptions import DatabaseHindered, NotYet
from ..exceptions.failures import contained
from ..exceptions.loggers import logger_of, origin_of
from ..exceptions.redaction import reason_of_error
from ..failpoints import Failpoint
from ..log import beside, claims, findings, outcomes
from ..signals import cascade_finished
from . import lease, not_yet
from .drained import Drained

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..backends.connections import Interrupts
    from ..log.values import Claim
    from ..models import Finding

logger = logger_of("integrity.erasure")

#: The most items that a step is asked to erase, or to look for, at once.
ITEMS = 100


def drain(
    place: str,
    *,
    seconds: float | None = None,
    interruptions: Interrupts = (),
    owner: str = "",
    again: bool = False,
) -> Drained:
    """Work on the due cascades of a step, from every log; see `cascade.drain`."""
    done = Drained(database=relations.catalogue().place(place))
    settings, interrupts = conf.current(), (*CONNECTION_ERRORS, *interruptions)
    deadline = time.monotonic() + (settings.run_seconds if seconds is None else seconds)
    for using in open_logs(place):
        with tolerated(using):
            if again:
                claims.take_over(place, owner=owner, using=using)
            log = identity.of_log(using)
            while not done.more:
                done.quiet = pacing.quiet_reason(place)
                if done.quiet:
                    return done
                claim = claims.claim(
                    place,
                    using=using,
                    limit=settings.claim_keys,
                    lease_seconds=settings.lease_seconds,
                    owner=owner,
                    log=log,
                )
                if claim is None:
                    break
                failpoints.hit(Failpoint.CLAIMED)
                until = min(deadline, time.monotonic() + settings.turn_seconds)
                with lease.renewed(claim, lease_seconds=settings.lease_seconds):
                    _Erasing(claim, until, interrupts, done).run()
                done.more = time.monotonic() >= deadline
    return done


def open_logs(place: str) -> Iterator[str]:
    """Yield the logs that answer, and in which work on the step is not paused."""
    for using in circuit_breaker.answering_logs(fresh=False):
        with tolerated(using):
            if circuit_breaker.outage(place, using=using) is None:
                yield using


def databases_of(claim: Claim) -> tuple[str, ...]:
    """Return the child databases in which the claim's step may have found something."""
    along = relations.catalogue().children_of(claim.parent, claim.database, claim.relation)
    return (*dict.fromkeys(alias for relation in along for alias in relation.child_databases),)


def hindrance(database: str, using: str, interrupts: Interrupts) -> str:
    """Return why findings cannot be read in a child database now, as a sentence, or "".

    What a database does not say that is paused, another one, or older than its log, is unknown.
    """
    noted = circuit_breaker.outage(database, using=using)
    if noted is not None and not noted.unreachable:
        return f"waits for {database}, which is paused: {noted.reason}"
    try:
        reach(database)
        with watched(database):
            if refusals.is_refused(database, interrupts, using=using, again=noted is not None):
                return f"waits for {database}, which is paused"
    except DatabaseHindered as error:
        return f"waits for {error.database}, which {error.sentence}"
    return ""


def groups_of(found: Sequence[Finding], most: int = ITEMS) -> Iterator[list[Finding]]:
    """Yield findings in groups of at most so many items, or of one finding that has more. Pure."""
    group: list[Finding] = []
    items = 0
    for row in found:
        if group and items + row.size > most:
            yield group
            group, items = [], 0
        group.append(row)
        items += row.size
    if group:
        yield group


class _Failed(Exception):
    """The step could not erase what was found for those deletions."""

    def __init__(self, deletions: set[int], reason: str) -> None:
        super().__init__(reason)
        self.deletions, self.reason = deletions, reason


@dataclass(slots=True)
class _Erasing:
    """The work on one claim of a step, for a time slice."""

    claim: Claim
    until: float
    interrupts: Interrupts
    done: Drained
    #: Whose items the step is asked to erase now.
    at_work: set[int] = field(default_factory=set)
    #: Deletion → for how long the step puts it off: see not_yet.py.
    later: dict[int, beside.Wait] = field(default_factory=dict)
    #: Deletion → the items that were erased for it, by this claim and before.
    erased: Counter[int] = field(default_factory=Counter)

    def run(self) -> None:
        """Erase what was found, and end or put back each deletion of the claim."""
        claim = self.claim
        waits = beside.unended(claim)
        hindered, late, failed = "", False, None
        try:
            for database in databases_of(claim):
                reason = hindrance(database, claim.using, self.interrupts)
                if reason:
                    hindered = reason
                    continue
                try:
                    with watched(database):
                        late = self._erase_in(database) or late
                except DatabaseHindered as error:
                    if error.database == claim.using:
                        raise
                    hindered = f"waits for {error.database}, which {error.sentence}"
        except _Failed as raised:
            failed = raised
        except self.interrupts:
            self._interrupted()
            raise
        except Exception as error:  # noqa: BLE001 (one claim that fails must not stop the others)
            reason = reason_of_error(error)
            failed = _Failed({*claim.ids}, f"its findings cannot be read: {reason}")
        with watched(claim.using):
            self._settle(waits, hindered, failed, late=late)

    def _erase_in(self, database: str) -> bool:
        """Erase what was found in one child database; return whether time is up before its end."""
        claim = self.claim
        rows = findings.of_claim(claim, name_of(claim.database), database=database)
        unerased, over, ids = rows.filter(erased_at__isnull=True), False, {*claim.ids}
        while not over and (found := findings.some(unerased, ids)):
            for group in groups_of(found):
                if over := time.monotonic() >= self.until:
                    break
                ids -= {row.deletion for row in self._erase(group, database)}
        self.erased += findings.sizes(rows.filter(erased_at__isnull=False), claim.ids)
        return over

    def _erase(self, group: Sequence[Finding], database: str) -> Sequence[Finding]:
        """Let the step erase what a group of findings names; return those that it puts off."""
        step = relations.catalogue().step(self.claim.database)
        self.at_work = {row.deletion for row in group}
        items = [item for row in group for item in row.items]
        left: Sequence[Finding] = ()
        try:
            with contained():
                step.erase(items)
        except self.interrupts:
            raise
        except NotYet as error:
            left = not_yet.left_of(group, error)
            self.later |= {row.deletion: not_yet.wait_of(error) for row in left}
        except Exception as error:
            reason = reason_of_error(error)
            logger.error("%s failed: %s%s", self.claim.database, reason, origin_of(error))  # noqa: TRY400 (quotes items)
            raise _Failed(self.at_work, reason) from error
        self.at_work = set()
        failpoints.hit(Failpoint.REMOVED)
        erased = [row for row in group if row not in left]
        if erased:
            findings.note_erased(erased, database=database)
        self.done.rows[self.claim.database] += sum(row.size for row in erased)
        failpoints.hit(Failpoint.REMOVAL_COMMITTED)
        return left

    def _settle(
        self, waits: Mapping[int, beside.Wait], hindered: str, failed: _Failed | None, *, late: bool
    ) -> None:
        """End what is erased, and put back the rest, each with its reason."""
        claim, rows = self.claim.with_rows(self._rows()), self._rows()
        stuck = failed.deletions if failed else set[int]()
        if failed:
            self.done.failed += len(stuck)
            outcomes.postpone(claim.only(stuck), failed.reason)
        not_yet.put_off(claim, {pk: self.later[pk] for pk in self.later.keys() - stuck}, rows)
        rest = [pk for pk in claim.ids if pk not in stuck | self.later.keys()]
        reason = hindered or (failed.reason if failed else "")
        if reason or late:
            kept = {pk: rows[pk] for pk in rest}
            outcomes.release(claim, kept, reason=reason, waits=bool(reason))
            return
        not_yet.put_off(claim, {pk: waits[pk] for pk in rest if pk in waits}, rows)
        ended = {pk: rows[pk] for pk in rest if pk not in waits}
        finished = outcomes.finish(claim, ended, barrier=None)
        self.done.finished += len(finished)
        failpoints.hit(Failpoint.FINISHED)
        if finished:
            cascade_finished.send_robust(
                sender=None,
                database=claim.database,
                using=claim.using,
                deletions=tuple(finished),
            )

    def _rows(self) -> dict[int, dict[str, int]]:
        """Return deletion → the number of items erased, as the log holds rows.

        What was proven before has no findings any more.
        """
        place = self.claim.database
        numbers = {
            one.id: max(self.erased[one.id], one.rows.get(place, 0)) for one in self.claim.deletions
        }
        return {pk: {place: number} if number else {} for pk, number in numbers.items()}

    def _interrupted(self) -> None:
        """Count an attempt of what was being erased; release the rest.

        If the log is unreachable, the lease expires instead.
        """
        claim = self.claim
        with contextlib.suppress(Error, DatabaseHindered):
            slow = claim.only(self.at_work)
            if slow.deletions:
                outcomes.postpone(slow, "an erasure takes longer than the time limit")
            outcomes.release(claim.only({*claim.ids} - self.at_work))
