"""Works on one claim in a child database: bounded steps per relation, until its time is up.

Finishes deletions without rows, and returns what blocks the others. Each step is one transaction in
the child's database. The parents are checked on their primary before the first step and before each
commit: a living one keeps every row (`live_check.LiveClaim`).

Note [Check last, then commit]: a check before the statement leaves a gap in which a parent comes
back and gets new rows, which the statement then sees. So the parents are checked once more after
the statement and before its commit: a new row that it saw was committed after its parent was, so
this check finds the parent, and the transaction is rolled back.

Note [Each relation by itself]: a relation that fails does not keep the others from their rows. It
is tried again as long as others remove rows, because these may be what it fails for: a RESTRICT, or
a trigger.

Note [Rows that stay]: rows that are left although nothing failed were inserted meanwhile, are
locked, or are kept by a trigger. One more step that waits for locks tells which: it changes
something, it gives up waiting, or it changes nothing.

Note [One row alone]: where a relation's steps have come down to one row, each works on a single
deletion. If even that takes longer than the caller's time limit, it is known whose row it was: an
attempt of this deletion is counted, and none of the others in the claim.
"""

from __future__ import annotations

import functools
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction

from .. import conf, failpoints
from ..backends.batch_size import timed
from ..backends.connections import given_up, require_working
from ..backends.errors import Trouble, trouble_of
from ..control.pacing import NotItsTurn, OutOfTime
from ..exceptions import DatabaseHindered, RowsKept
from ..failpoints import Failpoint
from ..log import outcomes
from ..relations.plan import plan_for
from .blockers import LOCKED, Blocker, blocker_along, blockers_of
from .finishing import finish
from .live_check import LiveClaim
from .strategies import STEP_FUNCTIONS, allowance, require_asked
from .trees import TooManyLeaves

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ..backends.batch_size import BatchSizes
    from ..backends.connections import Interrupts
    from ..control.pacing import Pacer
    from ..log.values import Claim
    from ..relations import Relation
    from ..relations.plan import Plan
    from .trees import StepResult


class _CameBack(Exception):
    """A parent came back while its rows were being removed; the transaction is rolled back."""


class TimeSlice:
    """The work on one claim: what was removed for which deletion, and what blocks the others.

    `rows` counts what all claims of this run have changed, per relation; `removed` what was changed
    for each deletion. Both hold whatever ends the slice.
    """

    def __init__(
        self,
        claim: Claim,
        until: float,
        batch_sizes: BatchSizes,
        rows: Mapping[str, int],
        *,
        interrupts: Interrupts,
        pacer: Pacer,
        skip_locked: bool = False,
    ) -> None:
        self.pacer = pacer
        self.claim, self.until, self.rows = claim, until, Counter(rows)
        self.batch_sizes = batch_sizes
        self.database = claim.database
        self.removed = {one.id: Counter(one.rows) for one in claim.deletions}
        self.interrupts, self.skip_locked = interrupts, skip_locked
        self.blockers: dict[str, Blocker] = {}
        self.roots_most: dict[str, int] = {}
        self.changed, self.late = 0, False
        self.at_work = set[int]()  # whose rows the last step removed
        self.too_slow = set[int]()  # see Note [One row alone]
        self.finished = self.kept = 0

    @functools.cached_property
    def live(self) -> LiveClaim:
        """The claim's keys; its relations are looked up when they are asked for first."""
        return LiveClaim(self.claim)

    def run(self) -> dict[int, tuple[Blocker, ...]]:
        """Work until nothing is left or time is up; return the blockers of each deletion stuck.

        What is not stuck was finished, kept, or put back to be claimed again.
        """
        todo, before = [(relation, plan_for(relation)) for relation in self.live.relations], -1
        while todo and self.changed > before and not self.late:
            before = self.changed
            todo = [pair for pair in todo if self.late or not self._exhaust(*pair)]
        self.live.forget_living_parents()
        left = {relation.label: self._left_along(relation) for relation in self.live.relations}
        for relation in self.live.relations if not self.late else ():
            if left[relation.label] and relation.label not in self.blockers:
                self._explain(relation, left[relation.label])
        return self._settle(left)

    def _left_along(self, relation: Relation) -> set[int]:
        """Return the deletions with rows left; all of them, where that cannot be asked."""
        try:
            return self.live.left_along(relation)
        except self.interrupts:
            raise
        except Exception as error:  # noqa: BLE001 (as in _exhaust)
            self._failed(relation, error)
            return set(self.live.deletions)

    def _failed(self, relation: Relation, error: Exception) -> None:
        require_working(self.database, error)
        self.blockers[relation.label] = blocker_along(error, relation, self.database)

    def _exhaust(self, relation: Relation, plan: Plan) -> bool:
        """Take steps until no row is left or time is up; return whether none of them failed."""
        self.blockers.pop(relation.label, None)
        try:
            while self._step(relation, plan):
                if time.monotonic() >= self.until:
                    self.late = True
                    break
        except OutOfTime:
            self.late = True
        except self.interrupts:
            raise
        except Exception as error:  # noqa: BLE001 (see Note [Each relation by itself])
            self._failed(relation, error)
            return False
        return True

    def _step(self, relation: Relation, plan: Plan, only: Collection[int] | None = None) -> bool:
        """Run one bounded transaction, for all or some deletions; return if more may follow."""
        # The last check is as good as a new one: another one follows below.
        owners = self.live.gone_keys(relation, fresh=False)
        if only is not None:
            owners = {key: owner for key, owner in owners.items() if owner in only}
        if len(owners) > 1 and self.batch_sizes[relation.label].rows == 1:
            left = self.live.left_along(relation)  # see Note [One row alone]
            owners = dict([pair for pair in owners.items() if pair[1] in left][:1])
        if not owners:
            return False
        try:
            counts, more = self._change(relation, plan, owners)
        except _CameBack:
            return True
        if any(counts.values()):
            self.at_work = {owners[key] for per_key in counts.values() for key in per_key}
        for label, per_key in counts.items():
            for key, number in per_key.items():
                self.removed[owners[key]][label] += number
                self.rows[label] += number
                self.changed += number
        self.pacer.record(sum(per_key.total() for per_key in counts.values()))
        return more and any(counts.values())

    def _change(self, relation: Relation, plan: Plan, owners: Mapping[Any, int]) -> StepResult:
        """Attempt a step, with fewer rows where it was too large, and past locked rows."""
        while True:
            self.pacer.wait(self.until, self.batch_sizes)
            try:
                return self._attempt(relation, plan, list(owners))
            except NotItsTurn:
                continue
            except TooManyLeaves as error:
                self.roots_most[relation.label] = 0 if error.roots == 1 else -(-error.roots // 4)
            except self.interrupts as raised:
                late = not isinstance(raised, DatabaseHindered)  # the caller's time limit
                if late and not self.batch_sizes[relation.label].shrink() and len(owners) == 1:
                    self.too_slow = {*owners.values()}
                raise
            except Exception as error:
                if not self._adapted(relation, error):
                    raise

    def _adapted(self, relation: Relation, error: Exception) -> bool:
        """Return whether another attempt may succeed where this one failed."""
        trouble = trouble_of(error, connections[self.database].vendor)
        if trouble is Trouble.CONTENTION and not self.skip_locked:
            self.skip_locked = True
            return True
        return trouble is Trouble.TOO_LARGE and self.batch_sizes[relation.label].shrink()

    def _attempt(self, relation: Relation, plan: Plan, keys: list[Any]) -> StepResult:
        """See Note [Check last, then commit].

        Raises, with nothing changed, `_CameBack`; `NotItsTurn`; `InvalidKey` where rows hold other
        keys; and what the step raises.
        """
        database, batch_size, took = self.database, self.batch_sizes[relation.label], list[float]()
        began, most = time.monotonic(), self.roots_most.get(relation.label)
        allowed = allowance(
            plan, batch_size, self.rows, roots_most=most, most_rows=self.pacer.step_rows
        )
        with (
            transaction.atomic(using=database),
            connections[database].execute_wrapper(partial(timed, took)),
            given_up(database, self.interrupts),
        ):
            self.pacer.take_token()
            backend, lock_seconds = self.live.row_backends[database], conf.current().lock_seconds
            backend.begin_step(lock_seconds=lock_seconds, using=database)
            counts, more = STEP_FUNCTIONS[plan.strategy](
                backend, plan.root, keys, allowed, using=database, skip_locked=self.skip_locked
            )
            check_seconds = -time.monotonic()
            touched = {key for per_key in counts.values() for key in per_key}
            if touched:
                require_asked(relation.label, touched, keys)
                if touched - self.live.gone_keys(relation).keys():
                    raise _CameBack
            failpoints.hit(Failpoint.REMOVED)
            check_seconds += time.monotonic()
        # Without the check: a slow database of parents must not make the steps here smaller.
        batch_size.record_step(
            time.monotonic() - began - check_seconds,
            statements=took,
            full=more and not allowed.paced,
        )
        if relation.label in self.roots_most and counts.get(plan.root.label):  # it finished roots
            self.roots_most[relation.label] = max(1, 2 * self.roots_most[relation.label])
        failpoints.hit(Failpoint.REMOVAL_COMMITTED)
        return counts, more

    def _explain(self, relation: Relation, deletions: set[int]) -> None:
        """Find out why rows are left. See Note [Rows that stay]."""
        if self.skip_locked:
            free = self.live.has_unlocked_row(relation)
            alone = len(deletions) == 1
            if not (alone and free):
                bisect = free and not alone and not self.changed
                self._note_locked(relation, bisect=bisect)
                return
            self.skip_locked = False
        before = self.changed
        try:
            more = self._step(relation, plan_for(relation), deletions)
            if not more and self.changed == before and not self.skip_locked:
                self._require_gone(relation, deletions)
        except OutOfTime:
            self.late = True
        except self.interrupts:
            raise
        except Exception as error:  # noqa: BLE001 (as in _exhaust)
            self._failed(relation, error)
        else:
            if self.changed == before and self.skip_locked:
                self._note_locked(relation)

    def _require_gone(self, relation: Relation, deletions: set[int]) -> None:
        """Raise `RowsKept` where a step that waited for every lock has left rows as they were."""
        self.live.forget_living_parents()
        if self.live.left_along(relation) & deletions:
            raise RowsKept(relation.label, self.database)

    def _note_locked(self, relation: Relation, *, bisect: bool = False) -> None:
        self.blockers[relation.label] = Blocker(
            relation=relation.label, trouble=Trouble.CONTENTION, reason=LOCKED, bisect=bisect
        )

    def _settle(self, left: Mapping[str, set[int]]) -> dict[int, tuple[Blocker, ...]]:
        """Finish what has no rows left, put back what only needs more time; return the rest."""
        live = self.live
        unknown = {relation.label: live.unknown_along(relation) for relation in live.relations}
        unfinished = set[int]().union(*left.values(), *unknown.values())
        complete = {pk: self.removed[pk] for pk in live.deletions if pk not in unfinished}
        self.finished, self.kept = finish(self.claim, live, complete)
        failpoints.hit(Failpoint.FINISHED)
        stuck = dict[int, tuple[Blocker, ...]]()
        for pk in unfinished:
            if blockers := blockers_of(pk, self.blockers, left, unknown, live.relations):
                stuck[pk] = blockers
        again = unfinished - stuck.keys()
        for group in filter(None, (again - self.at_work, again & self.at_work)):
            outcomes.release(self.claim, {pk: self.removed[pk] for pk in group}, reason="")
        return stuck
