"""The rules: what users, the broker, the workers, the clock and misfortune do, in any order.

Each rule acts on the real databases, tells the model of truth what it committed, and then the
invariants are checked (`truth.py`). A run plays with one to three families of tables, so that its
steps meet. At its end every database is up, no message is left, and beat alone must bring the log
to its end.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from django.db import OperationalError, transaction
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from apps.integrity import cascade
from apps.integrity.control import actions

from .acts import JOBS, TUNED, Acts, die
from .faults import Died, Moment, Of, at_statement
from .kinds import ALIASES, CHILD_DATABASES, DEFAULT, FALLBACK, FAMILIES, LOGS
from .truth import Violation

if TYPE_CHECKING:
    from collections.abc import Callable

picks = st.integers(0, 15)
moments_of = {
    of: st.builds(Moment, st.integers(1, most), of=st.just(of), after=st.booleans())
    for of, most in ((Of.ALL, 28), (Of.WRITES, 7), (Of.REMOVALS, 3))
}
moments = st.one_of(*moments_of.values())
children = st.sampled_from(CHILD_DATABASES)


#: The names of all rules.
RULES: set[str] = set()


def _messages(self: IntegrityMachine) -> object:
    return self.rig.broker.messages


def _logged(self: IntegrityMachine) -> object:
    return self.truth.open()


def _answering(self: IntegrityMachine) -> object:
    return all(self._up(alias) for alias in LOGS)


def _default(self: IntegrityMachine) -> object:
    return self._up(DEFAULT)


def _work(self: IntegrityMachine) -> object:
    return any(self._has_work(*job) for job in JOBS)


def _ended(self: IntegrityMachine) -> object:
    return {log_id for log_id in self.truth.log if log_id not in self.truth.open()} - self.truth.old


def step(
    when: Callable[[IntegrityMachine], object] = lambda _: True, **strategies: Any
) -> Callable[[Callable[..., bool]], Any]:
    """A rule that is counted, if it did something, and followed by the invariants."""

    def decorate(act: Callable[..., bool]) -> Any:
        RULES.add(act.__name__)

        @functools.wraps(act)
        def run(self: IntegrityMachine, **drawn: Any) -> None:
            self.sound = False
            self.truth.step += 1
            if act(self, **drawn):
                self.rig.steps[act.__name__] += 1
                self.observe()
            else:
                self.rig.idle += 1
            self.sound = True

        return precondition(lambda self: bool(when(self)))(rule(**strategies)(run))

    return decorate


class IntegrityMachine(Acts):
    @initialize(families=st.sets(st.sampled_from(sorted(FAMILIES)), min_size=1, max_size=2))
    def play_with(self, families: set[str]) -> None:
        self.labels = [label for family in sorted(families) for label in FAMILIES[family]]
        if "giver" in families:
            self._insert("parents.Giver", {"id": FALLBACK})
        for label in self.labels:
            for _ in range(2):
                self._create(label, 0, stale=False)
        self.observe()

    # Users

    @step(kind=picks, above=picks, stale=st.booleans())
    def create(self, kind: int, above: int, *, stale: bool) -> bool:
        return self._create(self._label(kind), above, stale=stale)

    @step(which=picks, above=picks, stale=st.booleans())
    def repoint(self, which: int, above: int, *, stale: bool) -> bool:
        return self._repoint(which, above, stale=stale)

    @step(
        _default,
        which=st.lists(picks, min_size=1, max_size=3),
        how=st.sampled_from(["one", "set", "raw"]),
    )
    def delete(self, which: list[int], how: str) -> bool:
        """One instance, a queryset, or a raw delete that is recorded by hand."""
        return self._delete(self._deletable(*which), how)

    @step(_default, which=st.lists(picks, min_size=2, max_size=3), outer=st.booleans())
    def delete_and_roll_back(self, which: list[int], *, outer: bool) -> bool:
        """The whole transaction, or a savepoint: then the first of them is deleted all the same."""
        gone = self._deletable(*which)
        if not gone or not self._up(DEFAULT) or (not outer and len(gone) < 2):
            return False
        messages = list(self.rig.broker.messages)
        kept = gone if outer else [each for each in gone[1:] if each not in self._with(gone[0])]
        with transaction.atomic(using=DEFAULT):
            if not outer:
                self._remove(gone[:1], "one")
            with transaction.atomic(using=DEFAULT):
                if kept:
                    self._remove(kept, "set")
                transaction.set_rollback(True, using=DEFAULT)
            if outer:
                transaction.set_rollback(True, using=DEFAULT)
        if outer and self.rig.broker.messages != messages:
            raise Violation("a message was sent for a delete that was rolled back")
        if not outer:
            self.truth.delete(gone[0])
        return True

    @step(
        _default,
        which=picks,
        moment=moments,
        how=st.sampled_from(["one", "set", "raw"]),
    )
    def die_while_deleting(self, which: int, moment: Moment, how: str) -> bool:
        gone = self._deletable(which)
        if not gone or not self._up(DEFAULT):
            return False
        try:
            with at_statement(moment, die):
                return self._delete(gone, how)
        except Died:
            rows, _ = self.rig.world.seen()
            if gone[0] not in rows:
                self.truth.delete(gone[0])
        return True

    @step(lambda self: not self._up(DEFAULT), which=picks)
    def delete_without_a_database(self, which: int) -> bool:
        gone = self._deletable(which)
        if not gone or self._up(DEFAULT):
            return False
        try:
            self._remove(gone, "set")
        except OperationalError:
            return True
        raise Violation("a database that refuses connections let a row be deleted")

    @step(lambda self: self._dead(), which=picks, child=st.booleans())
    def come_back(self, which: int, *, child: bool) -> bool:
        """A parent is saved again under its old key, and may get new rows."""
        return self._come_back(which, child=child)

    # Transactions that stay open for a while

    @step(kind=picks, above=picks)
    def insert_late(self, kind: int, above: int) -> bool:
        return self._insert_late(kind, above)

    @step(lambda self: any(self._up(alias) for alias in CHILD_DATABASES), which=picks, above=picks)
    def repoint_late(self, which: int, above: int) -> bool:
        return self._repoint_late(which, above)

    @step(lambda self: self.pending, which=picks, commit=st.booleans())
    def end_late(self, which: int, *, commit: bool) -> bool:
        return self._end_late(which, commit=commit)

    @step(lambda self: _default(self) and not self.leaving, which=picks)
    def leave(self, which: int) -> bool:
        """A parent is deleted in a transaction that is not committed yet."""
        return self._leave(which)

    @step(lambda self: self.leaving, commit=st.booleans())
    def end_leave(self, *, commit: bool) -> bool:
        return self._end_leave(commit=commit)

    # Messages and workers

    @step(_messages, which=picks)
    def deliver(self, which: int) -> bool:
        """Any message, in any order."""
        messages = self.rig.broker.messages
        return bool(messages) and self._run(messages.pop(which % len(messages)))

    @step(_messages, which=picks)
    def lose(self, which: int) -> bool:
        messages = self.rig.broker.messages
        return bool(messages) and bool(messages.pop(which % len(messages)))

    @step(_messages, which=picks)
    def duplicate(self, which: int) -> bool:
        messages = self.rig.broker.messages
        if messages:
            messages.append(messages[which % len(messages)])
        return bool(messages)

    @step(job=picks, due=st.booleans())
    def tick(self, job: int, *, due: bool) -> bool:
        """Beat, a worker that starts, or a message from nowhere; perhaps a long time later."""
        return self._run(self._job(job, due=due))

    @step(lambda self: any(self._has_work(*job) for job in JOBS[2:4]), database=children)
    def drain_in_a_hurry(self, database: str) -> bool:
        """One step of one claim, then the time of the task is up."""
        try:
            cascade.drain(database, seconds=1e-9)
        except self._tolerated():
            pass
        return True

    @step(_work, job=picks, moment=moments)
    def die(self, job: int, moment: Moment) -> bool:
        """A worker dies at some statement."""
        return self._strike("death", job, moment)

    @step(
        _work,
        job=picks,
        moment=moments,
        what=st.sampled_from(["limit", "error", *ALIASES]),
    )
    def strike(self, job: int, moment: Moment, what: str) -> bool:
        """A worker is out of time, meets an error or loses a database at some statement."""
        return self._strike(what, job, moment)

    @step(_work, job=picks, moment=moments, act=picks, one=picks, two=picks)
    def interfere(self, job: int, moment: Moment, act: int, one: int, two: int) -> bool:
        """Somebody else acts between two statements of a worker."""
        return self._between(self._job(job, due=True), moment, lambda: self._act(act, one, two))

    @step(lambda self: self._dead(), job=picks, moment=moments_of[Of.REMOVALS], which=picks)
    def come_back_at_work(self, job: int, moment: Moment, which: int) -> bool:
        """A parent comes back, and gets new rows, while a worker removes its old ones."""
        chosen = self._job(job, due=True, name="integrity.cascade")
        return self._between(
            chosen, moment, lambda: ("come_back", self._come_back(which, child=True))
        )

    # Misfortune, operators and time

    @step(lambda self: _logged(self) and not self.rig.outages.ports, alias=st.sampled_from(ALIASES))
    def go_down(self, alias: str) -> bool:
        return self._go_down(alias)

    @step(lambda self: self.rig.outages.ports)
    def come_up(self) -> bool:
        self.rig.outages.end_all()
        return True

    @step(_logged, down=st.booleans())
    def turn_the_broker(self, *, down: bool) -> bool:
        changed = self.rig.broker.down != down
        self.rig.broker.down = down
        return changed

    @step(
        lambda self: _answering(self) and _logged(self),
        database=children,
        pause=st.sampled_from([True, False, False]),
    )
    def steer(self, database: str, *, pause: bool) -> bool:
        turn = actions.pause if pause else actions.resume
        return sum(turn(database, actor="op", reason="why", using=log) for log in LOGS) > 0

    @step(lambda self: _answering(self) and self._blocked())
    def retry(self) -> bool:
        return self._retry_all()

    @step(lambda self: _answering(self) and self._stuck(), which=picks)
    def retry_one(self, which: int) -> bool:
        """Of a batch, the one that is blocked or kept, whose value may be free again."""
        return self._retry_one(which)

    @step(
        _logged,
        states=st.sampled_from([("running",), ("waiting",), ("done",), ("running", "waiting")]),
    )
    def let_time_pass(self, states: tuple[str, ...]) -> bool:
        """A lease ends, a backoff, a grace period."""
        return self._pass(*states)

    @step(lambda self: _answering(self) and self.away)
    def let_probes_pass(self) -> bool:
        self.away = False
        return self.rig.world.probes() > 0

    @step(_ended)
    def let_retention_pass(self) -> bool:
        self.rig.world.retained()
        self.truth.old |= set(self.truth.log)
        return bool(self.truth.log)

    # The end of a run

    def teardown(self) -> None:
        if not self.sound or not self.labels:
            return
        self.rig.outages.end_all()
        self.rig.broker.down = False
        for log in LOGS:
            for database in CHILD_DATABASES:
                actions.resume(database, actor="op", reason="the end", using=log)
        self.rig.broker.messages.clear()
        self._last_scene()
        self._round(deadly=True)
        self._round()  # all that can be done is done, and transactions are still open
        for position in range(len(self.pending)):
            self._end_late(position, commit=True)
        self._end_leave(commit=True)
        self._round(deadly=True)
        self._converge()
        if self.truth.open() and self.faults >= TUNED["attempts"] and self._retry_all():
            self._converge()
        if left := [self.truth.log[each] for each in self.truth.open()]:
            raise Violation(f"beat did not bring these to an end: {left}")
