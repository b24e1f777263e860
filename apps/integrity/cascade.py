"""Claimed cascades of one database → bounded statements per relation → counts.

Takes what `log.claim` gives; gives rows removed per relation back to the log. Each step is one
short transaction in the child's database. The parents are looked up on their primary before the
first one and before each commit: a living one cancels its deletion and keeps every row
(`claims.Held`).

Note [Look last, then commit]: a look before the statement leaves a gap in which a parent comes back
and gets new rows, which the statement then sees. So the parents are looked up once more after the
statement and before its commit: a new row that it saw was committed after its parent was, so this
look finds the parent, and the transaction is rolled back.

Note [Turns]: a claim works for `turn_seconds`. Keys that still have rows then go to the end of the
queue with their progress, so a deletion with millions of rows never holds up the one behind it.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import OperationalError, ProgrammingError, connections, transaction

from . import claims, conf, control, log, phases, relations, statements
from .claims import Held
from .exceptions import InvalidKey
from .pace import Paces
from .phases import Phase
from .plan import Way, plan
from .signals import cascade_finished
from .steps import COLLECTOR_ROWS, STEPS, allowance

if TYPE_CHECKING:
    from collections.abc import Callable

    from .control import Away
    from .log import Claim
    from .pace import Pace
    from .plan import Plan
    from .relations import Relation
    from .steps import Stepped

logger = logging.getLogger("integrity.cascade")

#: Why cascades are put back although nobody stopped the turn.
LOCKED = "rows are locked by somebody else"


@dataclass(slots=True, kw_only=True)
class Drained:
    """What a run did in one child database."""

    database: str
    finished: int = 0
    cancelled: int = 0
    failed: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    more: bool = False
    unreachable: str = ""


def drain(
    database: str,
    *,
    seconds: float | None = None,
    interruptions: Away = (),
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
    done = Drained(database=relations.catalogue().database(database))
    away = (*control.AWAY, *interruptions)
    deadline = time.monotonic() + (conf.current().run_seconds if seconds is None else seconds)

    def work(using: str) -> None:
        if again:
            log.take_over(done.database, owner=owner, using=using)
        _drain_log(using, owner, deadline, done, away)

    done.unreachable = control.in_each_log(database, work, away)
    return done


def _drain_log(using: str, owner: str, deadline: float, done: Drained, away: Away) -> None:
    settings = conf.current()
    paces = Paces(
        settings.statement_rows,
        most=settings.statement_rows_max,
        seconds=settings.statement_seconds,
    )
    while not done.more:
        claim = log.claim(
            done.database,
            using=using,
            limit=settings.claim_keys,
            lease_seconds=settings.lease_seconds,
            owner=owner,
        )
        if claim is None:
            return
        phases.reached(Phase.CLAIMED)
        turn = min(deadline, time.monotonic() + settings.turn_seconds)
        _work(claim, turn, paces, done, away)
        done.more = time.monotonic() >= deadline
        if control.is_paused(done.database, using=using):  # before the first claim, others asked
            return


def _work(claim: Claim, until: float, paces: Paces, done: Drained, away: Away) -> None:
    """Carry a claim out. A failure is narrowed down by halves to the cascade that causes it."""
    removed: dict[int, Counter[str]] = {}
    try:
        with control.watched(claim.database):
            _Turn(claim, until, paces, done, removed, away).run()
    except away:
        log.hand_back(log.with_rows(claim, removed))
        raise
    except Exception as error:  # noqa: BLE001 (one that fails must not stop the others)
        _narrow_down(error, log.with_rows(claim, removed), until, paces, done, away)


def _narrow_down(
    error: Exception, claim: Claim, until: float, paces: Paces, done: Drained, away: Away
) -> None:
    """Postpone the cascade that fails; of several, try each half."""
    try:
        if len(claim.cascades) == 1 or isinstance(error, ProgrammingError):
            reason, code = claims.failure(error, claims.relations_of(claim), claim.database)
            # No traceback of the logger's: it ends with the error's text, which may quote rows.
            logger.error("cascades into %s failed: %s%s", claim.database, reason, code)
            log.postpone(claim, reason)
            done.failed += len(claim.cascades)
            return
        middle = len(claim.cascades) // 2
        for half in (claim.cascades[:middle], claim.cascades[middle:]):
            _work(dataclasses.replace(claim, cascades=half), until, paces, done, away)
    except away:
        log.hand_back(claim)  # the half that was not begun, with what it had lost before
        raise


class _CameBack(Exception):
    """A parent came back while its rows were being removed; the transaction is rolled back."""


class _Turn:
    """One claim at work: what was removed for whom, and who is still to do."""

    def __init__(
        self,
        claim: Claim,
        until: float,
        paces: Paces,
        done: Drained,
        removed: dict[int, Counter[str]],
        away: Away,
    ) -> None:
        self.held, self.until, self.paces, self.done = Held(claim), until, paces, done
        self.removed, self.away = removed, away
        self.removed.update((each.id, Counter(each.rows)) for each in claim.cascades)
        self.patient = True

    def run(self) -> None:
        """Relation by relation until each has no rows left, or the turn is over."""
        for position, relation in enumerate(self.held.relations):
            way = plan(relation)
            while self._step(relation, way):
                if time.monotonic() >= self.until:
                    self._settle(self.held.with_rows(self.held.relations[position:]), reason="")
                    return
        self._settle(self.held.with_rows(self.held.relations), reason=LOCKED)

    def _step(self, relation: Relation, way: Plan) -> bool:
        """One bounded transaction; False when it left nothing."""
        # The look before the last commit is as good as a new one: another one follows below.
        owners = self.held.owners(relation, again=False)
        if not owners:
            return False
        try:
            counts, more = self._change(relation, way, list(owners))
        except _CameBack:
            return True
        for label, per_key in counts.items():
            for key, number in per_key.items():
                self.removed[owners[key]][label] += number
                self.done.rows[label] += number
        return more and any(counts.values())

    def _change(self, relation: Relation, way: Plan, keys: list[Any]) -> Stepped:
        """Wait for rows that others lock only once: then pass them over, and come back later."""
        try:
            return self._attempt(relation, way, keys)
        except OperationalError as error:
            if not (self.patient and is_lock_failure(error)):
                raise
            self.patient = False
            return self._attempt(relation, way, keys)

    def _attempt(self, relation: Relation, way: Plan, keys: list[Any]) -> Stepped:
        """See Note [Look last, then commit].

        Raises, with nothing changed, `_CameBack`; and `InvalidKey` where rows hold other keys.
        """
        step, database = STEPS[way.way], self.held.claim.database
        pace, began = self.paces[relation.label], time.monotonic()
        with (
            transaction.atomic(using=database),
            connections[database].execute_wrapper(partial(_timed, pace)),
            control.given_up(database, self.away),
        ):
            if way.way is Way.COLLECTOR:  # it loads each row, and what hangs on it
                pace.rows = min(pace.rows, COLLECTOR_ROWS)
            allowed = allowance(way.root, pace.rows, self.done.rows)
            counts, more = step(way.root, keys, allowed, database, patient=self.patient)
            looks = time.monotonic()
            touched = {key for per_key in counts.values() for key in per_key}
            _require_asked(relation, touched, keys)
            if touched and touched - self.held.owners(relation).keys():
                raise _CameBack
            phases.reached(Phase.REMOVED)
            looks -= time.monotonic()
        # Not the looks: a slow database of parents must not make more steps of the work here.
        pace.took(time.monotonic() - began + looks, full=more)
        phases.reached(Phase.REMOVAL_COMMITTED)
        return counts, more

    def _settle(self, unfinished: set[int], reason: str) -> None:
        """Finish what has no rows left, put the rest back."""
        claim = self.held.claim
        complete = {pk: self.removed[pk] for pk in self.held.cascades if pk not in unfinished}
        barrier = statements.on(claim.database).next_transaction(using=claim.database)
        deletions = log.finish(claim, complete, barrier=barrier)
        phases.reached(Phase.FINISHED)
        log.release(claim, {pk: self.removed[pk] for pk in unfinished}, reason=reason)
        self.done.finished += len(deletions)
        self.done.cancelled += self.held.cancelled
        if deletions:
            cascade_finished.send_robust(
                sender=None,
                database=claim.database,
                using=claim.using,
                deletions=tuple(deletions),
            )


def _timed(pace: Pace, execute: Callable[..., Any], *arguments: Any) -> Any:
    """Around each statement of a step, as Django's `execute_wrapper` calls it."""
    began = time.monotonic()
    try:
        return execute(*arguments)
    finally:
        pace.served(time.monotonic() - began)


def _require_asked(relation: Relation, touched: set[Any], keys: list[Any]) -> None:
    """Refuse rows of other keys than those asked for. A collation takes some texts for equal."""
    if not touched <= set(keys):
        raise InvalidKey(
            f"{relation.label}: rows hold keys that only the column's collation takes for those of"
            " parents that are gone. Nothing was changed; write the rows' keys as their parents'"
        )


def is_lock_failure(error: OperationalError) -> bool:
    """Whether somebody else's lock was in the way: a lock timeout or a deadlock (PostgreSQL)."""
    return getattr(error.__cause__, "sqlstate", "") in {"55P03", "40P01"}
