"""The steps of a time slice: one bounded transaction each in the child's database.

Note [Check last, then commit]: a check before the statement leaves a gap in which a parent comes
back and gets new rows, which the statement then sees. So the parents are checked once more after
the statement and before its commit: a new row that it saw was committed after its parent was, so
this check finds the parent, and the transaction is rolled back.

Note [All relations at first]: a slice begins with one transaction along all relations, because most
deletions have few rows: that is one commit and one last check for all of them. If anything goes
wrong in it, it is rolled back, and each relation goes by itself.

Note [One row alone]: where a relation's steps have come down to one row, each works on a single
deletion. If even that takes longer than the caller's time limit, it is known whose row it was: an
attempt of this deletion is counted, and none of the others in the claim.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import connections

from .. import conf, failpoints
from ..backends.batch_size import timed
from ..backends.connections import given_up
from ..backends.errors import Trouble, trouble_of
from ..backends.transactions import atomic
from ..control.pacing import NotItsTurn
from ..exceptions import DatabaseHindered
from ..failpoints import Failpoint
from ..log import findings
from . import walks
from .allowance import Left, allowance
from .gatherer import Gatherer
from .strategies import STEP_FUNCTIONS, require_asked
from .trees import TooManyLeaves

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..backends.batch_size import BatchSizes
    from ..backends.connections import Interrupts
    from ..control.pacing import Pacer
    from ..log.values import Claim
    from ..models import Finding
    from ..relations import Relation
    from ..relations.plan import Plan
    from .allowance import Allowance, Counts
    from .live_check import LiveClaim
    from .progress import Progress

#: A relation joins a transaction that has lasted no longer than this share of `statement_seconds`.
JOIN_SHARE = 0.4


class CameBack(Exception):
    """A parent came back while its rows were being removed; the transaction is rolled back."""


@dataclass(frozen=True, slots=True)
class Part:
    """What a step does along one relation: for the keys of `owners`, which is key → deletion."""

    relation: Relation
    plan: Plan
    owners: Mapping[Any, int]


@dataclass(frozen=True, slots=True)
class Done:
    """What a step has changed along one relation, and what may be left."""

    part: Part
    counts: Counts
    left: Left
    allowed: Allowance

    def found(self, claim: Claim) -> list[Finding]:
        """Return what erasure steps have found of the rows that it removed."""
        gatherer = self.allowed.gatherer
        return gatherer.rows(claim, self.part.owners) if gatherer else []


class Steps:
    """Takes steps with as many rows as fit, past locked rows where it must."""

    def __init__(
        self,
        database: str,
        batch_sizes: BatchSizes,
        progress: Progress,
        *,
        interrupts: Interrupts,
        pacer: Pacer,
        skip_locked: bool,
    ) -> None:
        self.pacer = pacer
        self.database, self.batch_sizes, self.progress = database, batch_sizes, progress
        self.interrupts, self.skip_locked = interrupts, skip_locked
        self.roots_most: dict[str, int] = {}
        self.walk: walks.Walk | None = None  # through the rows of the relation at work
        self.too_slow = set[int]()  # see Note [One row alone]

    def take(self, live: LiveClaim, part: Part, until: float) -> Done:
        """Take a step, with fewer rows where it was too large, and past locked rows.

        Raises `OutOfTime` where none may begin before `until`.
        """
        label = part.relation.label
        while True:
            self.pacer.wait(until, self.batch_sizes)
            try:
                (done,) = self._attempt(live, [part])
            except NotItsTurn:
                continue
            except TooManyLeaves as error:
                self.roots_most[label] = 0 if error.roots == 1 else -(-error.roots // 4)
            except self.interrupts as raised:
                late = not isinstance(raised, DatabaseHindered)  # the caller's time limit
                if late and not self.batch_sizes[label].shrink() and len(part.owners) == 1:
                    self.too_slow = {*part.owners.values()}
                raise
            except Exception as error:
                if not self._adapted(label, error):
                    raise
            else:
                return done

    def take_together(self, live: LiveClaim, parts: Sequence[Part], until: float) -> list[Done]:
        """Take one step along the first of those relations, or all: Note [All relations at first].

        Return an empty list, with nothing changed, where that failed or would gain nothing, and
        where a setting limits the rows of a step. Raises `OutOfTime` as `take` does.
        """
        labels = [part.relation.label for part in parts]
        alone = any(self.batch_sizes[label].rows == 1 for label in labels)
        if not parts[1:] or self.skip_locked or alone or self.pacer.step_rows is not None:
            return []
        self.pacer.wait(until, self.batch_sizes)
        try:
            return self._attempt(live, parts)
        except self.interrupts as raised:
            if not isinstance(raised, DatabaseHindered):
                for label in labels:
                    self.batch_sizes[label].shrink()
            raise
        except Exception as error:  # noqa: BLE001 (whoever raises it does so again, by itself)
            self._adapted(labels[0], error)
            return []

    def next_walk(self, live: LiveClaim, relation: Relation, plan: Plan) -> walks.Walk | None:
        """Return the walk of the next step, after one that left rows; None if an index leads on."""
        if self.walk is not None:
            return None if self.walk.over else self.walk
        if relation.label in live.covered:
            return None  # it would delete rows that no erasure step was asked about
        keys, database = list(live.gone_keys(relation, fresh=False)), self.database
        if len(keys) != 1 or self.skip_locked or relation.label in self.roots_most:
            return None
        most = self.batch_sizes[relation.label].ceiling
        if self.pacer.step_rows is not None:
            most = min(most, self.pacer.step_rows)
        return walks.begun(live.row_backends[database], plan, keys[0], most, using=database)

    def _adapted(self, label: str, error: Exception) -> bool:
        """Return whether another attempt may succeed where this one failed."""
        trouble = trouble_of(error, connections[self.database].vendor)
        if trouble is Trouble.CONTENTION and not self.skip_locked:
            self.skip_locked = True
            return True
        return trouble is Trouble.TOO_LARGE and self.batch_sizes[label].shrink()

    def _attempt(self, live: LiveClaim, parts: Sequence[Part]) -> list[Done]:
        """See Note [Check last, then commit].

        Raises, with nothing changed, `CameBack`; `NotItsTurn`; `InvalidKey` where rows hold other
        keys; and what the step raises.
        """
        database, settings, done = self.database, conf.current(), list[Done]()
        longest = JOIN_SHARE * self.pacer.step_seconds(settings.statement_seconds)
        backend, took = live.row_backends[database], list[float]()
        ends, numbers = [time.monotonic()], [0]  # after each part: the time, and its statements
        with (
            atomic(database),
            connections[database].execute_wrapper(partial(timed, took)),
            given_up(database, self.interrupts),
        ):
            self.pacer.take_token()
            backend.begin_step(lock_seconds=settings.lock_seconds, using=database)
            for part in parts:
                done.append(self._changed(live, part))
                ends.append(time.monotonic())
                numbers.append(len(took))
                if ends[-1] - ends[0] > longest or done[-1].left is Left.SOME:
                    break
            _require_gone(live, done)
            checked = time.monotonic()
            self.progress.write([(one.counts, one.part.owners) for one in done])
            if live.covered and (found := [row for one in done for row in one.found(live.claim)]):
                findings.write(found, database=database)
            failpoints.hit(Failpoint.REMOVED)
        # Without the check: a slow database of parents must not make the steps here smaller.
        ends[-1] += time.monotonic() - checked
        for place, one in enumerate(done):
            statements = took[numbers[place] : numbers[place + 1]]
            self._record(one, ends[place + 1] - ends[place], statements)
        failpoints.hit(Failpoint.REMOVAL_COMMITTED)
        return done

    def _changed(self, live: LiveClaim, part: Part) -> Done:
        """Change rows along one relation, in the transaction of the step."""
        label, covered = part.relation.label, live.covered.get(part.relation.label)
        gatherer, backend = None, live.row_backends[self.database]
        if covered:
            backend.require_current(part.plan.root.field.model, using=self.database)
            gatherer = Gatherer(covered, self.database)
        allowed = allowance(
            part.plan,
            self.batch_sizes[label],
            self.progress.rows,
            roots_most=self.roots_most.get(label),
            most_rows=self.pacer.step_rows,
            walk=None if self.skip_locked else self.walk,
            gatherer=gatherer,
        )
        counts, left = STEP_FUNCTIONS[part.plan.strategy](
            backend,
            part.plan.root,
            list(part.owners),
            allowed,
            using=self.database,
            skip_locked=self.skip_locked,
        )
        return Done(part, counts, left, allowed)

    def _record(self, done: Done, seconds: float, statements: Sequence[float]) -> None:
        """Adapt to a step that is committed. Of several parts, the last has the commit's time."""
        label, allowed = done.part.relation.label, done.allowed
        full = done.left is Left.SOME and not allowed.paced
        if allowed.walk is not None:
            allowed.walk.advance()
            full = full and not allowed.walk.over
        self.batch_sizes[label].record_step(seconds, statements=statements, full=full)
        if label in self.roots_most and done.counts.get(done.part.plan.root.label):
            self.roots_most[label] = max(1, 2 * self.roots_most[label])  # it finished roots


def _require_gone(live: LiveClaim, done: Sequence[Done]) -> None:
    """Raise `CameBack` where a parent lives whose rows were changed."""
    checked = set[Any]()
    for one in done:
        relation, owners = one.part.relation, one.part.owners
        touched = {key for per_key in one.counts.values() for key in per_key}
        if touched:
            require_asked(relation.label, touched, list(owners))
            gone = live.gone_keys(relation, fresh=relation.target not in checked)
            checked.add(relation.target)
            if touched - gone.keys():
                raise CameBack
