"""Done cascades of an erasure step → probed → verified, or back to work.

Verified is what the step finds nothing of any more. What it cannot find out stays done, and what
holds it is said. Findings are removed after that: Note [Until it is proven] in log/findings.py.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from .. import conf, failpoints, relations
from ..backends.connections import CONNECTION_ERRORS, tolerated, watched
from ..conf.steps import name_of
from ..control import circuit_breaker, identity, pacing
from ..erasure import Found
from ..exceptions import DatabaseHindered, NotYet
from ..exceptions.failures import contained, isolated
from ..exceptions.loggers import logger_of, origin_of
from ..exceptions.redaction import reason_of_error
from ..failpoints import Failpoint
from ..log import beside, findings, outcomes, proofs
from . import not_yet
from .erasing import ITEMS, databases_of, hindrance, open_logs
from .verified import Verified

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from ..backends.connections import Interrupts
    from ..erasure import Item
    from ..log.values import Claim
    from ..models import Finding

logger = logger_of("integrity.verify")

UNTOLD = "it cannot say whether everything is gone"
LEFT = "something that was erased is there again, or still"
LATER = "more was found after it was done"


def verify(place: str, *, seconds: float | None, interruptions: Interrupts) -> Verified:
    """Probe what a step has erased, from every log, until time is up; see `verification.verify`."""
    done = Verified(database=relations.catalogue().place(place))
    done.quiet = pacing.quiet_reason(place)
    if done.quiet:
        return done
    deadline = time.monotonic() + (conf.current().run_seconds if seconds is None else seconds)
    interrupts = (*CONNECTION_ERRORS, *interruptions)
    for using in open_logs(place):
        with tolerated(using):
            _verify_log(using, deadline, done, interrupts)
    return done


def _verify_log(using: str, deadline: float, done: Verified, interrupts: Interrupts) -> None:
    log, held = identity.of_log(using), ""
    while not done.more:
        claim = proofs.due_done(
            done.database, now=None, using=using, limit=conf.current().claim_keys, log=log
        )
        if claim is None:
            _purge(using, log)
            break
        proof = _Proof(claim, deadline, interrupts)
        proof.read()
        failpoints.hit(Failpoint.PROBED)
        held = _settle(proof, done) or held
        done.more = time.monotonic() >= deadline
    done.held = held or done.held
    waiting = proofs.has_done(done.database, using=using)
    if held or not waiting:
        circuit_breaker.write_held_reason(done.database, held, using=using)


def _purge(using: str, log: UUID) -> None:
    """Remove old findings of deletions that the log has no more, where a database answers."""
    for database in relations.catalogue().child_databases:
        with isolated(f"removing old findings in {database}", passing=()), tolerated(database):
            findings.purge(database, log=log, using=using)


def _settle(proof: _Proof, done: Verified) -> str:
    """Write what became of the claim's deletions; return what holds some of them, or ""."""
    claim = proof.claim
    for reason, deletions in (LEFT, proof.left), (LATER, proof.later):
        if deletions:
            logger.warning("%s: %d deletions go back: %s", claim.database, len(deletions), reason)
            _forget_erased(claim, deletions, proof.databases)
            done.reopened += outcomes.reopen(claim, sorted(deletions), reason)
    back = proof.left | proof.later
    untold = {pk for pk in claim.ids if proof.hindered or pk in proof.untold} - back
    if untold:
        outcomes.hold(claim, sorted(untold), seconds=proof.seconds)
    clean = [pk for pk in claim.ids if pk not in back | untold]
    done.verified += outcomes.verify(claim, clean)
    for database, probed in proof.probed.items() if clean else ():
        pks = [finding for deletion in clean for finding in probed.get(deletion, ())]
        with isolated(f"removing proven findings in {database}", passing=()), watched(database):
            findings.remove(pks, database=database)
    return (proof.hindered or proof.why) if untold else ""


def _rows(claim: Claim, database: str) -> findings.Findings:
    return findings.of_claim(claim, name_of(claim.database), database=database)


def _forget_erased(claim: Claim, deletions: set[int], databases: Sequence[str]) -> None:
    """Let findings be erased again. Before the cascade is opened: else it may end without them."""
    for database in databases:
        with watched(database):
            findings.forget_erased(_rows(claim, database), deletions)


class _Proof:
    """What the step finds of a claim's deletions."""

    def __init__(self, claim: Claim, deadline: float, interrupts: Interrupts) -> None:
        self.claim, self.deadline, self.interrupts = claim, deadline, interrupts
        self.databases = databases_of(claim)
        self.step = relations.catalogue().step(claim.database)
        #: Something is left; or was not erased; or cannot be told.
        self.left, self.later, self.untold = set[int](), set[int](), set[int]()
        #: Child database → deletion → the findings that were probed. No others may be removed.
        self.probed: dict[str, dict[int, list[UUID]]] = {}
        #: Which database cannot be read; and why the step cannot tell.
        self.hindered = self.why = ""
        #: For how long the step puts off questions: `NotYet`; and whether it failed to answer one.
        self.put_off, self.failed = 0.0, False

    @property
    def seconds(self) -> float:
        """Return when to ask again what is unknown."""
        settings = conf.current()
        if self.put_off and not (self.failed or self.hindered):
            return self.put_off
        return max(settings.probe_seconds, settings.grace_seconds)

    def read(self) -> None:
        """Probe the findings in every child database."""
        self.later |= beside.unended(self.claim).keys()
        for database in self.databases:
            reason = hindrance(database, self.claim.using, self.interrupts)
            try:
                if not reason:
                    with watched(database):
                        self._read_in(database)
            except DatabaseHindered as error:
                reason = f"waits for {error.database}, which {error.sentence}"
            self.hindered = reason or self.hindered

    def _read_in(self, database: str) -> None:
        rows = _rows(self.claim, database)
        pending = [pk for pk in self.claim.ids if pk not in self.later]
        while pending:
            found = findings.some(rows, pending)
            by_deletion: dict[int, list[Finding]] = {}
            for row in found:
                by_deletion.setdefault(row.deletion, []).append(row)
            whole = len(found) < findings.ROWS
            if not whole and len(by_deletion) > 1:
                del by_deletion[found[-1].deletion]  # the rest of it comes with the next page
            elif not whole:
                by_deletion[found[-1].deletion] = [*findings.mine(rows, [found[-1].deletion])]
            probed = self.probed.setdefault(database, {})
            probed.update((pk, [row.pk for row in part]) for pk, part in by_deletion.items())
            self._probe_all(by_deletion)
            if whole:
                return
            pending = [pk for pk in pending if pk > max(by_deletion)]

    def _probe_all(self, by_deletion: Mapping[int, Sequence[Finding]]) -> None:
        """Probe the deletions in groups, others each time: none is held by its neighbours."""
        self.later |= {
            pk for pk, rows in by_deletion.items() if any(row.erased_at is None for row in rows)
        }
        items = {
            pk: [item for row in rows for item in row.items]
            for pk, rows in by_deletion.items()
            if pk not in self.later
        }
        group: list[int] = []
        for pk in random.sample([*items], len(items)):
            if group and sum(len(items[one]) for one in group) + len(items[pk]) > ITEMS:
                self._probe(group, items)
                group = []
            group.append(pk)
        if group:
            self._probe(group, items)

    def _probe(self, deletions: Sequence[int], items: Mapping[int, Sequence[Item]]) -> Found:
        """Probe them together; if something is left or unknown, find out of which it is."""
        if time.monotonic() >= self.deadline:
            self.untold.update(deletions)
            self.failed = True
            self.why = self.why or "there was no time to look for everything"
            return Found.UNKNOWN
        found = self._ask([item for pk in deletions for item in items[pk]])
        if found is Found.NONE:
            return found
        if len(deletions) == 1:
            (self.left if found is Found.SOME else self.untold).update(deletions)
            return found
        middle = len(deletions) // 2
        first = self._probe(deletions[:middle], items)
        if found is Found.UNKNOWN is first:
            # It seems to know nothing: do not ask about each of them.
            self.untold.update(deletions)
            return found
        self._probe(deletions[middle:], items)
        return found

    def _ask(self, items: Sequence[Item]) -> Found:
        try:
            with contained():
                found = self.step.probe(items)
        except self.interrupts:
            raise
        except NotYet as error:
            self.put_off = max(self.put_off, not_yet.seconds_of(error))
            self.why = self.why or not_yet.wait_of(error).reason
            return Found.UNKNOWN
        except Exception as error:  # noqa: BLE001 (what fails says nothing)
            self.failed = True
            reason = reason_of_error(error)
            logger.error("%s: a probe failed: %s%s", self.claim.database, reason, origin_of(error))  # noqa: TRY400 (quotes items)
            self.why = f"its probe fails: {reason}"
            return Found.UNKNOWN
        if found in {Found.NONE, Found.SOME}:
            return found
        self.failed, self.why = True, self.why or UNTOLD
        return Found.UNKNOWN
