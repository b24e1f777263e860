"""Works on one claim in a child database: bounded steps per relation, until its time is up.

Finishes deletions without rows, and returns what blocks the others. Each step is one transaction in
the child's database. The parents are checked on their primary before the first step and before each
commit: a living one keeps every row (`live_check.LiveClaim`).

Note [Each relation by itself]: a relation that fails does not keep the others from their rows. It
is tried again as long as others remove rows, because these may be what it fails for: a RESTRICT, or
a trigger.

Note [Rows that stay]: rows that are left although nothing failed were inserted meanwhile, are
locked, or are kept by a trigger. One more step that waits for locks tells which: it changes
something, it gives up waiting, or it changes nothing.

Note [None is left]: where a step saw as many rows as it has removed, there is nothing to look for
once more. Where that is so along all relations, the parents are not checked once more either. What
comes later, a row or a parent, is found by the verification.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

from .. import failpoints
from ..backends.connections import require_working
from ..backends.errors import Trouble
from ..control.pacing import OutOfTime
from ..exceptions import RowsKept
from ..failpoints import Failpoint
from ..log import outcomes
from ..relations.plan import plan_for
from . import second_walk
from .allowance import Left
from .blockers import LOCKED, Blocker, blocker_along, blockers_of
from .finishing import finish
from .live_check import LiveClaim
from .progress import Progress
from .steps import CameBack, Part, Steps
from .strategies import equal_by_collation

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ..backends.batch_size import BatchSizes
    from ..backends.connections import Interrupts
    from ..control.pacing import Pacer
    from ..log.values import Claim
    from ..relations import Relation
    from ..relations.plan import Plan
    from .steps import Done


class TimeSlice:
    """The work on one claim: its progress, and what blocks the deletions that it cannot finish."""

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
        self.claim, self.until, self.progress = claim, until, Progress(claim, rows)
        self.steps = Steps(
            claim.database,
            batch_sizes,
            self.progress,
            interrupts=interrupts,
            pacer=pacer,
            skip_locked=skip_locked,
        )
        self.database = claim.database
        self.interrupts = interrupts
        self.blockers: dict[str, Blocker] = {}
        self.cleared: dict[str, set[Any]] = {}  # relation → keys: see Note [None is left]
        self.second: second_walk.SecondWalk | None = None
        self.late = False
        self.finished = self.kept = 0

    @functools.cached_property
    def live(self) -> LiveClaim:
        """The claim's keys; its relations are looked up when they are asked for first."""
        return LiveClaim(self.claim)

    @property
    def goes_on(self) -> bool:
        """Return whether an earlier slice has left rows, so that there may be very many."""
        return any(one.rows for one in self.claim.deletions)

    def run(self) -> dict[int, tuple[Blocker, ...]]:
        """Work until nothing is left or time is up; return the blockers of each deletion stuck.

        What is not stuck was finished, kept, or put back to be claimed again.
        """
        with self.live.row_backends[self.database].own_session(using=self.database):
            todo, before = [(relation, plan_for(relation)) for relation in self.live.relations], -1
            todo.sort(key=lambda pair: bool(pair[1].root.below))
            todo = self._begin(todo)
            while todo and self.progress.changed > before and not self.late:
                before = self.progress.changed
                todo = [pair for pair in todo if self.late or not self._exhaust(*pair)]
            if not self._is_cleared():
                self.live.forget_living_parents()
            left = {relation.label: self._left_along(relation) for relation in self.live.relations}
            for relation in self.live.relations if not self.late else ():
                if left[relation.label] and relation.label not in self.blockers:
                    self._explain(relation, left[relation.label])
        return self._settle(left)

    def _begin(self, todo: list[tuple[Relation, Plan]]) -> list[tuple[Relation, Plan]]:
        """Take the first step along all relations; return those along which rows may be left."""
        if self.goes_on:
            return todo
        try:
            parts = [Part(*pair, self.live.gone_keys(pair[0], fresh=False)) for pair in todo]
        except self.interrupts:
            raise
        except Exception:  # noqa: BLE001 (see Note [Each relation by itself])
            return todo
        parts = [part for part in parts if part.owners]
        try:
            taken = self.steps.take_together(self.live, parts, self.until)
        except OutOfTime:
            self.late = True
            return todo
        self._note(*taken)
        over = {done.part.relation for done in taken if done.left is not Left.SOME}
        return [pair for pair in todo if pair[0] not in over]

    def _is_cleared(self) -> bool:
        """Return whether none is left along any relation, for the keys that were free last."""
        return all(
            one.label in self.cleared
            and self.live.gone_keys(one, fresh=False).keys() <= self.cleared[one.label]
            for one in self.live.relations
        )

    def _left_along(self, relation: Relation) -> set[int]:
        """Return the deletions with rows left; all of them, where that cannot be asked."""
        try:
            return self.live.left_along(relation, self.cleared.get(relation.label, set()))
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
            if self.goes_on:
                self._walk_on(relation, plan)
            while self._step(relation, plan):
                if time.monotonic() >= self.until:
                    self.late = True
                    break
                self._walk_on(relation, plan)
        except OutOfTime:
            self.late = True
        except self.interrupts:
            raise
        except Exception as error:  # noqa: BLE001 (see Note [Each relation by itself])
            self._failed(relation, error)
            return False
        finally:
            self.steps.walk = None
            self._join()
        return True

    def _walk_on(self, relation: Relation, plan: Plan) -> None:
        """Let the next step follow a walk, if one leads on; a second walk comes to meet it."""
        steps, before = self.steps, self.steps.walk
        steps.walk = steps.next_walk(self.live, relation, plan)
        if steps.walk is None:
            self._join()
        elif before is None:
            self.second = second_walk.begun(steps, self.claim, relation, plan, until=self.until)

    def _join(self) -> None:
        """Wait for the second walk, and note what it has changed."""
        for done in self.second.join() if self.second else ():
            self.progress.note(done.counts, done.part.owners)
        self.second = None

    def _step(self, relation: Relation, plan: Plan, only: Collection[int] | None = None) -> bool:
        """Run one bounded transaction, for all or some deletions; return if more may follow."""
        # The last check is as good as a new one: another one follows below.
        owners = self.live.gone_keys(relation, fresh=False)
        if only is not None:
            owners = {key: owner for key, owner in owners.items() if owner in only}
        if len(owners) > 1 and self.steps.batch_sizes[relation.label].rows == 1:
            left = self.live.left_along(relation)  # see Note [One row alone] in steps.py
            owners = dict([pair for pair in owners.items() if pair[1] in left][:1])
        if not owners:
            return False
        try:
            done = self.steps.take(self.live, Part(relation, plan, owners), self.until)
        except CameBack:
            return True
        self._note(done)
        walked = done.allowed.walk is not None
        return done.left is Left.SOME and (walked or any(done.counts.values()))

    def _note(self, *parts: Done) -> None:
        """Note what a step has changed along one relation or several: it is committed."""
        before = self.progress.changed
        for done in parts:
            self.progress.add(done.counts, done.part.owners)
            if done.left is Left.NONE:
                self.cleared[done.part.relation.label] = {*done.part.owners}
        if parts:
            self.steps.pacer.record(self.progress.changed - before)

    def _explain(self, relation: Relation, deletions: set[int]) -> None:
        """Find out why rows are left. See Note [Rows that stay]."""
        if self.steps.skip_locked:
            free = self.live.has_unlocked_row(relation)
            alone = len(deletions) == 1
            if not (alone and free):
                bisect = free and not alone and not self.progress.changed
                self._note_locked(relation, bisect=bisect)
                return
            self.steps.skip_locked = False
        before = self.progress.changed
        try:
            more = self._step(relation, plan_for(relation), deletions)
            if not more and self.progress.changed == before and not self.steps.skip_locked:
                self._require_gone(relation, deletions)
        except OutOfTime:
            self.late = True
        except self.interrupts:
            raise
        except Exception as error:  # noqa: BLE001 (as in _exhaust)
            self._failed(relation, error)
        else:
            if self.progress.changed == before and self.steps.skip_locked:
                self._note_locked(relation)

    def _require_gone(self, relation: Relation, deletions: set[int]) -> None:
        """Raise `RowsKept` where a step that waited for every lock has left rows as they were."""
        self.live.forget_living_parents()
        if not self.live.left_along(relation) & deletions:
            return
        if self.live.has_only_lookalikes(relation):
            raise equal_by_collation(relation.label)
        # Some steps pass over locked rows in any case.
        if self.live.has_unlocked_row(relation):
            raise RowsKept(relation.label, self.database)
        self._note_locked(relation)

    def _note_locked(self, relation: Relation, *, bisect: bool = False) -> None:
        self.blockers[relation.label] = Blocker(
            relation=relation.label, trouble=Trouble.CONTENTION, reason=LOCKED, bisect=bisect
        )

    def _settle(self, left: Mapping[str, set[int]]) -> dict[int, tuple[Blocker, ...]]:
        """Finish what has no rows left, put back what only needs more time; return the rest."""
        live = self.live
        unknown = {relation.label: live.unknown_along(relation) for relation in live.relations}
        unfinished = set[int]().union(*left.values(), *unknown.values())
        self.progress.fold()
        removed, at_work = self.progress.removed, self.progress.at_work
        complete = {pk: removed[pk] for pk in live.deletions if pk not in unfinished}
        self.finished, self.kept = finish(self.claim, live, complete)
        failpoints.hit(Failpoint.FINISHED)
        stuck = dict[int, tuple[Blocker, ...]]()
        for pk in unfinished:
            if blockers := blockers_of(pk, self.blockers, left, unknown, live.relations):
                stuck[pk] = blockers
        again = unfinished - stuck.keys()
        for group in filter(None, (again - at_work, again & at_work)):
            outcomes.release(self.claim, {pk: removed[pk] for pk in group}, reason="")
        return stuck
