"""Suspects → rechecked → confirmed deletions of the log, or dropped.

Confirmed suspects take the path of every deletion, whose own live check comes on top. Deletes no
row of a child.

Note [The recheck]: it waits for the grace period, and until every transaction that was open in the
parents' databases when the suspect was last seen has ended: one of them may have been inserting the
parent. Where a server has no barriers, it is asked whether one is: a parent that is not committed
yet makes its suspect wait.

Note [A recheck that disagrees]: where it finds far too many parents alive, the scan's findings are
worth nothing. All suspects of the relation are dropped; the next pass sees again what is an orphan.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import Error

from .. import backends, conf, relations
from ..backends import connections
from ..backends.barriers import BarrierState, barriers_from_json, describe_blocker, state_of_all
from ..control import actions
from ..exceptions import DatabaseHindered
from ..exceptions.loggers import logger_of
from ..exceptions.redaction import reason_of_error
from ..log import suspects
from . import recheck
from .brake import asked, disagreement
from .parents import barriers_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..models import Suspect
    from ..relations import Relation

logger = logger_of("integrity.repair")


@dataclass(slots=True, kw_only=True)
class Repaired:
    """What became of the suspects of one relation. Counts are of keys.

    `brake` says why the brake refuses the repair, `reason` why it could not go on: a database that
    cannot be reached, an error. `held` names the transaction that keeps suspects waiting beyond
    their grace period.
    """

    relation: str
    confirmed: list[int] = field(default_factory=list)
    cancelled: int = 0
    waiting: int = 0
    brake: str = ""
    reason: str = ""
    held: str = ""
    unreachable: bool = False


def repair(
    chosen: Sequence[Relation],
    *,
    override: str = "",
    actor: str = "integrity",
    audited: bool = False,
    seconds: float = 60.0,
) -> list[Repaired]:
    """Confirm the suspects of those relations that are due; drop those whose parent is alive.

    Refuses absurd figures (brake.py) unless there is a reason to `override` the brake, which is
    audited with the `actor`. If `audited`, so is what became of the suspects of each relation,
    unless nothing did. Takes no new batch after so many `seconds`. A relation whose databases do
    not answer, or which fails, is reported; the others go on.
    """
    deadline = time.monotonic() + seconds
    repairs = [
        _Repair(relation, override, actor, audited=audited)
        for relation in chosen
        if relation.policy.cascades
    ]
    return [one.run(deadline) for one in repairs]


def figures(done: Repaired) -> str:
    """Return what became of the suspects, as the audit log has it. Pure."""
    return f"{len(done.confirmed)} confirmed, {done.cancelled} alive, {done.waiting} waiting"


def outlook(relation: Relation) -> Repaired:
    """Return what a repair would report now. Changes nothing."""
    return _Repair(relation).outlook()


def wanted() -> list[Relation]:
    """Return the relations that are repaired by themselves: their `scan_policy` is "repair"."""
    settings = conf.current()
    return [
        relation
        for relation in relations.catalogue().relations
        if settings.scan_policy_of(relation.label) == "repair"
    ]


class _Repair:
    """A repair of one relation; `done` is its result."""

    def __init__(
        self, relation: Relation, override: str = "", actor: str = "", *, audited: bool = False
    ) -> None:
        self.relation, self.override = relation, override
        self.actor, self.audited = actor, audited
        self.using = relation.parent_databases[0]
        self.done = Repaired(relation=relation.label)

    def run(self, deadline: float) -> Repaired:
        """Recheck the suspects that are due, batch by batch, until `deadline`."""
        self._attempt(lambda: self._recheck_all(deadline))
        if self.done.brake:
            refused = "%s: repair refused by the brake: %s"
            logger.warning(refused, self.relation.label, self.done.brake)
        return self.done

    def outlook(self) -> Repaired:
        """Return what a repair would report now."""
        self._attempt(self._ask_brake)
        return self.done

    def _attempt(self, work: Callable[[], None]) -> None:
        """Do the work if the parents' databases answer; write to `done` why it failed."""
        done, label = self.done, self.relation.label
        try:
            for home in self.relation.parent_databases:
                connections.reach(home)
            with connections.watched(self.using):
                work()
        except DatabaseHindered as error:
            done.reason, done.unreachable = f"{error.database} {error.sentence}", True
        except (Error, UnicodeError) as error:
            done.reason = reason_of_error(error)
        if done.reason:
            logger.warning("%s: not repaired: %s", label, done.reason)

    def _recheck_all(self, deadline: float) -> None:
        self._ask_brake()
        if self.override and self.done.waiting:
            self._override_brake()
        try:
            self._recheck_batches(deadline)
        finally:  # what an error or Ctrl-C cut short has changed something, too
            if self.audited and (self.done.confirmed or self.done.cancelled):
                self._audit("repair", figures(self.done))

    def _recheck_batches(self, deadline: float) -> None:
        grace = conf.current().grace_seconds
        for batch in suspects.in_batches(self.relation, older_than_seconds=grace, using=self.using):
            if self.done.brake or time.monotonic() >= deadline:
                break
            self._recheck(batch)
        self._count_waiting()

    def _count_waiting(self) -> None:
        self.done.waiting = suspects.number_of_suspects(self.relation.label, using=self.using)

    def _ask_brake(self) -> None:
        self._count_waiting()
        self.done.brake = asked(self.relation, self.done.waiting) if self.done.waiting else ""

    def _override_brake(self) -> None:
        self.done.brake = ""
        self._audit("override brake", self.override)

    def _audit(self, verb: str, reason: str) -> None:
        label = self.relation.label
        actions.audit(verb, label, actor=self.actor, reason=reason, using=self.using)

    def _recheck(self, batch: list[Suspect]) -> None:
        """Confirm or drop a batch. See the Notes above.

        A suspect whose barrier is not past is left for later.
        """
        using = self.using
        rechecked = recheck.recheck(self.relation, self._past_barrier(batch))
        self.done.cancelled += suspects.drop(rechecked.alive, using=using)
        suspects.drop(rechecked.outdated, using=using)
        doubt = disagreement(len(rechecked.keys), len(rechecked.alive), conf.current())
        if not self.override:
            self.done.brake = doubt or asked(self.relation, self.done.waiting)
        if rechecked.uncommitted:
            home = min(rechecked.uncommitted.values())
            self.done.held = backends.barrier_backend(home).describe_holder(using=home)
        if not self.done.brake:
            self.done.confirmed += suspects.confirm(rechecked.missing, using=using)
        elif doubt:
            self._drop_all()

    def _drop_all(self) -> None:
        """Drop all suspects of the relation. See Note [A recheck that disagrees]."""
        for batch in suspects.in_batches(self.relation, older_than_seconds=0, using=self.using):
            suspects.drop([suspect.pk for suspect in batch], using=self.using)

    def _past_barrier(self, batch: list[Suspect]) -> list[Suspect]:
        """Return the suspects before whose barrier every transaction has ended.

        Those whose barrier is of another server get a new one, and wait. What the others wait for
        is noted.
        """
        homes = self.relation.parent_databases
        now = {home: backends.barrier_backend(home).horizon(using=home) for home in homes}
        states = {
            suspect.pk: state_of_all(barriers_from_json(suspect.fence), now) for suspect in batch
        }
        foreign = [pk for pk, state in states.items() if state is BarrierState.FOREIGN]
        if foreign:
            suspects.renew_barriers(foreign, barriers_of(self.relation), using=self.using)
            renewed = "%s: %d barriers of another server taken anew"
            logger.warning(renewed, self.relation.label, len(foreign))
        if BarrierState.HELD in states.values():
            blockers = (backends.barrier_backend(home).blocker(using=home) for home in homes)
            self.done.held = next(
                (describe_blocker(blocker) for blocker in blockers if blocker), ""
            )
        return [suspect for suspect in batch if states[suspect.pk] is BarrierState.PASSED]
