"""What the rules are made of: each act gives whether it did something.

An act changes the real databases, and tells the model of truth what it committed.
"""

from __future__ import annotations

import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

from celery.exceptions import SoftTimeLimitExceeded
from django.db import DatabaseError, InterfaceError, OperationalError, transaction
from hypothesis import note
from hypothesis.stateful import RuleBasedStateMachine

from apps.integrity import capture
from apps.integrity.backends.connections import _answered
from apps.integrity.capture import presence
from apps.integrity.control import actions, restores
from apps.integrity.exceptions import DatabaseUnreachable

from .faults import TASKS, Broker, BrokerDown, Died, Moment, Of, Outages, Session, at_statement
from .kinds import (
    CHILD_DATABASES,
    DEFAULT,
    FALLBACK,
    KINDS,
    LEFT,
    LOGS,
    RIGHT,
    TARGETS,
    Kind,
    Link,
    crosses,
)
from .truth import Truth
from .world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .world import Id, LogId, Values

#: Time stands still but for the rules, and every batch is small.
TUNED = {
    "attempts": 2,
    "lock_seconds": 0.25,
    "backoff_seconds": 3600.0,
    "backoff_seconds_max": 7200.0,
    "claim_keys": 3,
    "dispatch_keys": 5,
    "grace_seconds": 3600.0,
    "lease_seconds": 3600.0,
    "probe_seconds": 3600.0,
    "purge_keys": 2,
    "run_seconds": 600.0,
    "statement_rows": 2,
    "statement_rows_max": 2,
    "turn_seconds": 600.0,
    "wakeups": True,
}
#: A task and its argument.
Job = tuple[str, str | None]
JOBS: tuple[Job, ...] = (
    ("integrity.dispatch", DEFAULT),
    ("integrity.dispatch", LEFT),
    ("integrity.cascade", LEFT),
    ("integrity.cascade", RIGHT),
    ("integrity.verify", LEFT),
    ("integrity.verify", RIGHT),
    ("integrity.maintain", None),
)
#: Rounds of beat after which everything has come to its end.
ROUNDS = 10


class Rig:
    """What all runs share: connections, threads, the broker, and what was done how often."""

    def __init__(self) -> None:
        self.world, self.broker, self.outages = World(), Broker(), Outages()
        self.other, self.late, self.leaver = Session(), Session(), Session()
        self.steps: Counter[str] = Counter()
        self.idle = 0
        self.struck: Counter[str] = Counter()
        self.between: Counter[str] = Counter()

    @property
    def sessions(self) -> list[Session]:
        return [self.other, self.late, self.leaver]

    def reset(self) -> None:
        self.outages.end_all()
        for session in (self.late, self.leaver):
            for alias in session.open:
                session.end(alias, commit=False)
        self.broker.down = False
        self.broker.messages.clear()
        # What a process remembers for some seconds would make the same steps end differently.
        for remembered in (restores._looked, presence._seen, _answered):
            remembered.clear()
        self.world.clean()

    def close(self) -> None:
        self.reset()
        for session in self.sessions:
            session.close()
        self.world.close()


class Acts(RuleBasedStateMachine):
    def __init__(self, rig: Rig) -> None:
        super().__init__()
        self.rig = rig
        rig.reset()
        self.truth = Truth(TUNED["attempts"])
        self.sound, self.retried, self.meanwhile = True, False, False
        self.serial, self.faults = 0, 0
        #: Whether a database was away since the last probe.
        self.away = False
        self.labels: list[str] = []
        #: Alias → what the open transaction there inserted or changed: row, values, step.
        self.pending: dict[str, list[tuple[Id, Values, int]]] = {}
        #: Parents that an open transaction has deleted.
        self.leaving: list[Id] = []

    def observe(self) -> None:
        rows, log = self.rig.world.seen()
        self.truth.compare(rows, log, retried=self.retried)
        self.retried = False

    def _blocked(self) -> bool:
        return any(
            cascade.state == "blocked"
            for entry in self.truth.log.values()
            for cascade in entry.cascades.values()
        )

    def _up(self, alias: str) -> bool:
        return alias not in self.rig.outages.ports

    def _label(self, pick: int) -> str:
        return self.labels[pick % len(self.labels)]

    def _do(self, act: Callable[[], Any]) -> bool:
        """Here; or while a worker is at work elsewhere: then its locks may be in the way."""
        if not self.meanwhile:
            return act() is not False
        try:
            return self.rig.other(act) is not False
        except (DatabaseError, InterfaceError):
            return False

    def _create(self, label: str, above: int, *, stale: bool) -> bool:
        kind = KINDS[label]
        values = self._fresh(label)
        for link in kind.links:
            key = self._above(kind, link, above, stale=stale)
            if key is None:
                return self._create(link.to, above, stale=stale)
            values[link.column] = key
        if label == "parents.Person":
            values["code"] = self._free_code()
        return self._insert(label, values)

    def _fresh(self, label: str) -> Values:
        self.serial += 1
        key: Any = uuid.UUID(int=self.serial) if label == "parents.Token" else self.serial
        return {"id": key, **KINDS[label].extra}

    def _free_code(self) -> str | None:
        used = {row.values.get("code") for row in self.truth.rows.values()}
        return next((code for code in "abc" if code not in used), None)

    def _above(self, kind: Kind, link: Link, pick: int, *, stale: bool) -> Any:
        """A value for a key: a living row's, or one that is gone (across databases only)."""
        if stale and crosses(kind, link):
            gone = [
                key[2]
                for key in self.truth.graves
                if key[:2] == (link.to, link.target) and not self.truth.holders(key)
            ]
            if gone:
                return gone[pick % len(gone)]
        found = [
            row.values[link.target]
            for identity, row in self.truth.rows.items()
            if identity[0] == link.to
            and (crosses(kind, link) or identity not in self.leaving)
            and row.values[link.target] not in {None, FALLBACK}
        ]
        return found[pick % len(found)] if found else None

    def _insert(self, label: str, values: Values) -> bool:
        kind = KINDS[label]
        if not self._up(kind.alias):
            return False
        row = kind.model(**values)
        if not self._do(lambda: row.save(using=kind.alias, force_insert=True)):
            return False
        note(f"{label} {values}")
        self.truth.add((label, str(row.pk)), _json(values))
        return True

    def _movable(self, which: int) -> tuple[Id, Link] | None:
        locked = {identity for found in self.pending.values() for identity, *_ in found}
        found = [
            (identity, row.kind.links[0])
            for identity, row in self.truth.rows.items()
            if row.kind.links and row.kind.alias in CHILD_DATABASES and identity not in locked
        ]
        return found[which % len(found)] if found else None

    def _repoint(self, which: int, above: int, *, stale: bool) -> bool:
        found = self._movable(which)
        if found is None:
            return False
        (label, pk), link = found
        kind = KINDS[label]
        key = self._above(kind, link, above, stale=stale)
        if key is None or not self._up(kind.alias):
            return False
        rows = kind.model._base_manager.using(kind.alias).filter(pk=pk)
        if not self._do(lambda: rows.update(**{link.column: key}) == 1):
            return False
        note(f"{label} {pk} → {key}")
        values = {**self.truth.rows[label, pk].values, link.column: _text(key)}
        self.truth.add((label, pk), values)
        return True

    def _deletable(self, *which: int) -> list[Id]:
        """Some parents of `default`, all of one kind."""
        found = self._all_deletable()
        chosen = dict.fromkeys(found[each % len(found)] for each in which if found)
        return [each for each in chosen if each[0] == next(iter(chosen))[0]]

    def _all_deletable(self) -> list[Id]:
        """The parents of `default` that no open transaction has."""
        return [
            identity
            for identity, row in self.truth.rows.items()
            if row.kind.alias == DEFAULT
            and identity[1] != str(FALLBACK)
            and not set(self.leaving).intersection(self._with(identity))
        ]

    def _with(self, identity: Id) -> list[Id]:
        return self.truth.with_local(identity)

    def _delete(self, gone: Sequence[Id], how: str) -> bool:
        if not gone or not self._up(DEFAULT):
            return False
        if not self._do(lambda: self._remove(gone, how)):
            return False
        note(f"deleted {gone} ({how})")
        self.truth.delete(*gone)
        return True

    def _remove(self, gone: Sequence[Id], how: str) -> None:
        kind = KINDS[gone[0][0]]
        rows = kind.model._base_manager.using(DEFAULT).filter(pk__in=[pk for _, pk in gone])
        if how == "one":
            for instance in rows:
                instance.delete()
        elif how == "set" or kind.label not in TARGETS:
            rows.delete()
        else:
            with transaction.atomic(using=DEFAULT):
                instances = list(rows)
                rows._raw_delete(DEFAULT)
                capture.record(instances, using=DEFAULT)

    def _dead(self) -> list[Id]:
        """Parents that are gone, and that nothing but themselves brings back."""
        return [
            (label, pk)
            for label in self.labels
            if KINDS[label].alias == DEFAULT and not KINDS[label].links
            for pk in self.truth.dead(label)
        ]

    def _come_back(self, which: int, *, child: bool) -> bool:
        """One whose deletion is not at its end, if there is any."""
        at_work = {(entry.label, entry.key) for entry in map(self.truth.log.get, self.truth.open())}
        dead = [each for each in self._dead() if each in at_work] or self._dead()
        if not dead:
            return False
        label, pk = dead[which % len(dead)]
        values = {**self._fresh(label), "id": uuid.UUID(pk) if "-" in pk else int(pk)}
        if label == "parents.Person":
            values["code"] = self._old_code(pk)
        if not self._insert(label, values):
            return False
        for each in [kind for kind in self.labels if child]:
            if any(link.to == label for link in KINDS[each].links):
                self._create(each, len(self._holding(label)) - 1, stale=False)
        return True

    def _holding(self, label: str) -> list[Id]:
        return [each for each in self.truth.rows if each[0] == label and each[1] != str(FALLBACK)]

    def _old_code(self, pk: str) -> str | None:
        """The code that the person had, unless somebody else has it."""
        used = {row.values.get("code") for row in self.truth.rows.values()}
        codes = [
            entry.values["code"]
            for entry in self.truth.log.values()
            if (entry.label, entry.key) == ("parents.Person", pk)
        ]
        return codes[-1] if codes and codes[-1] not in used else None

    def _insert_late(self, kind: int, above: int) -> bool:
        label = self._label(kind)
        links, alias = KINDS[label].links, KINDS[label].alias
        if not links or alias not in CHILD_DATABASES or not self._up(alias):
            return False
        key = self._above(KINDS[label], links[0], above, stale=False)
        if key is None:
            return False
        values = {**self._fresh(label), links[0].column: key}
        row = KINDS[label].model(**values)
        return self._late(
            alias,
            (label, str(row.pk)),
            _json(values),
            lambda: row.save(using=alias, force_insert=True),
        )

    def _repoint_late(self, which: int, above: int) -> bool:
        found = self._movable(which)
        if found is None:
            return False
        (label, pk), link = found
        kind = KINDS[label]
        key = self._above(kind, link, above, stale=False)
        if key is None or not self._up(kind.alias):
            return False
        self.faults += not crosses(
            kind, link
        )  # its lock may fail a cascade that Django carries out
        rows = kind.model._base_manager.using(kind.alias).filter(pk=pk)
        values = {**self.truth.rows[label, pk].values, link.column: _text(key)}
        return self._late(
            kind.alias, (label, pk), values, lambda: rows.update(**{link.column: key})
        )

    def _late(self, alias: str, identity: Id, values: Values, act: Callable[[], Any]) -> bool:
        self.rig.late.begin(alias)
        written = self.pending.setdefault(alias, [])
        try:
            changed = self.rig.late(act)
        except (DatabaseError, InterfaceError):
            changed = 0  # only while a worker is at work: its locks are in the way
        if changed == 0:
            del self.pending[alias]
            self.rig.late.end(alias, commit=False)
            return False
        note(f"{identity} {values}, not committed yet")
        written.append((identity, values, self.truth.step))
        return True

    def _end_late(self, which: int, *, commit: bool) -> bool:
        if not self.pending:
            return False
        alias = sorted(self.pending)[which % len(self.pending)]
        written = self.pending.pop(alias)
        try:
            self.rig.late.end(alias, commit=commit)
        except (DatabaseError, InterfaceError):
            commit = False  # a row above, in the same database, went meanwhile
        note(f"{written} {'committed' if commit else 'rolled back'}")
        for identity, values, step_ in written if commit else ():
            self.truth.add(identity, values, written=step_)
        return True

    def _leave(self, which: int) -> bool:
        gone = self._deletable(which)
        if not gone or not self._up(DEFAULT):
            return False
        self.rig.leaver.begin(DEFAULT)
        self.rig.leaver(lambda: self._remove(gone, "one"))
        note(f"deleted {gone}, not committed yet")
        self.leaving += [each for each in self._with(gone[0]) if each not in self.leaving]
        return True

    def _end_leave(self, *, commit: bool) -> bool:
        if not self.leaving:
            return False
        gone, self.leaving = self.leaving, []
        self.rig.leaver.end(DEFAULT, commit=commit)
        note(f"{gone} {'committed' if commit else 'rolled back'}")
        if commit:
            self.truth.delete(*gone)
        return True

    def _strike(self, what: str, job: int, moment: Moment) -> bool:
        return self._struck(what, self._job(job, due=True), moment)

    def _struck(self, what: str, job: Job, moment: Moment) -> bool:
        def act() -> None:
            self.faults += what != RIGHT  # to lose a database without a log burns no attempt
            self.rig.struck[what] += 1
            note(f"… {what} {moment}")
            _STRIKES.get(what, lambda: self._go_down(what))()

        try:
            with at_statement(moment, act):
                return self._run(job, SoftTimeLimitExceeded, OperationalError, InterfaceError)
        except Died:
            return True

    def _job(self, pick: int, *, due: bool, name: str = "") -> Job:
        """One that has work to do, if there is any; its leases, backoffs and grace may be over."""
        if due:
            self._pass("running", "waiting", "done")
        named = [job for job in JOBS if job[0].startswith(name)]
        found = [job for job in named if self._has_work(*job)] or named
        note(f"… {found[pick % len(found)]}")
        return found[pick % len(found)]

    def _pass(self, *states: str) -> bool:
        """Let the time pass that cascades in those states wait for."""
        try:
            self.rig.world.due(*states)
        except OperationalError:
            return False  # a worker is at work, and has locked them
        if "done" in states:
            self.truth.grace = self.truth.step
        return True

    def _has_work(self, name: str, argument: str | None) -> bool:
        entries = {each: self.truth.log[each] for each in self.truth.open()}
        if name == "integrity.dispatch":
            return any(
                entry.state == "recorded" and alias == argument
                for (alias, _), entry in entries.items()
            )
        states = {
            "integrity.cascade": {"pending", "running", "waiting"},
            "integrity.verify": {"done"},
            "integrity.maintain": {"done"},
        }[name]
        return any(
            cascade.state in states and argument in {database, None}
            for entry in entries.values()
            for database, cascade in entry.cascades.items()
        )

    def _run(self, job: Job, *tolerated: type[BaseException]) -> bool:
        name, argument = job
        try:
            TASKS[name](*([argument] if argument else []))
        except (*self._tolerated(), *tolerated) as error:
            if not self.meanwhile:  # hypothesis takes no notes from other threads
                note(f"… {name} ended with {type(error).__name__}")
        return True

    def _run_elsewhere(self, job: Job) -> bool:
        """Another worker does it, who believes that this one is dead."""
        return self._do(lambda: self._run(job))

    def _tolerated(self) -> tuple[type[BaseException], ...]:
        """What a task may end with, as things are: the next message makes good for it."""
        down = (DatabaseUnreachable, OperationalError, InterfaceError)
        return (
            *((BrokerDown,) if self.rig.broker.down else ()),
            *(down if self.rig.outages.ports else ()),
        )

    def _go_down(self, alias: str) -> bool:
        if not self._up(alias):
            return False
        if alias == DEFAULT:
            self.leaving = []
        self.pending.pop(alias, None)
        self.rig.outages.begin(alias, self.rig.sessions)
        self.away = True
        note(f"{alias} is down")
        return True

    # What comes between

    def _between(self, job: Job, moment: Moment, act: Callable[[], tuple[str, bool]]) -> bool:
        def interrupt() -> None:
            self.meanwhile = True
            try:
                what, done = act()
            finally:
                self.meanwhile = False
            note(f"… {what} {moment}: {done}")
            self.rig.between[what] += done

        with at_statement(moment, interrupt):
            return self._run(job)

    def _act(self, act: int, one: int, two: int) -> tuple[str, bool]:
        """What somebody else may do now."""
        acts: dict[str, Callable[[], bool]] = {
            "job": lambda: self._run_elsewhere(self._job(one, due=True)),
            "create": lambda: self._create(self._label(one), two, stale=bool(one % 2)),
            "repoint": lambda: self._repoint(one, two, stale=bool(one % 2)),
            "delete": lambda: self._delete(self._deletable(one), "one"),
            "insert_late": lambda: self._insert_late(one, two),
        }
        if self.pending:
            acts["end_late"] = lambda: self._end_late(one, commit=bool(two % 2))
        if self.leaving:
            acts["end_leave"] = lambda: self._end_leave(commit=True)
        what = sorted(acts)[act % len(acts)]
        return what, acts[what]()

    # The end

    def _retry_all(self) -> bool:
        self.retried = sum(actions.retry(None, actor="op", using=log) for log in LOGS) > 0
        return self.retried

    def _stuck(self) -> list[LogId]:
        """Deletions with a cascade that is blocked or kept."""
        return [
            log_id
            for log_id, entry in self.truth.log.items()
            if not entry.purged
            and {each.state for each in entry.cascades.values()} & {"blocked", "kept"}
        ]

    def _retry_one(self, which: int) -> bool:
        found = sorted(self._stuck())
        if not found:
            return False
        log, pk = found[which % len(found)]
        self.retried = actions.retry([pk], actor="op", using=log, kept=True) > 0
        note(f"retried {log} {pk}: {self.retried}")
        return self.retried

    def _converge(self) -> None:
        for _ in range(ROUNDS):
            self._round()
            if not self.truth.open():
                return

    def _round(self, *, deadly: bool = False) -> None:
        """Beat's ticks and the messages that they send, with time passing; no other message."""
        self.truth.step += 1
        self.rig.world.probes()
        for name in ("integrity.dispatch", "integrity.maintain"):
            self._pass("running", "waiting", "done")
            self._run((name, None))
            while self.rig.broker.messages:
                job = self.rig.broker.messages.pop(0)
                if deadly:
                    self._struck("death", job, self._next_moment())
                else:
                    self._run(job)
            self.observe()

    def _next_moment(self) -> Moment:
        """Another one each time, and in each run; the same when it is run again."""
        self.serial += 1
        return Moment(self.serial % 7 + 1, Of.WRITES, after=bool(self.serial // 7 % 2))

    def _last_scene(self) -> None:
        """In every run: parents go while rows of theirs are still to be committed."""
        for kind in range(len(self.labels)):
            self._insert_late(kind, self.serial)
        keys = {(label, str(value)) for label, value in self._late_keys()}
        for identity in sorted(keys.intersection(self.truth.rows)):
            if identity in self._all_deletable():
                self._delete([identity], "one")
        self.observe()

    def _late_keys(self) -> list[tuple[str, Any]]:
        return [
            (link.to, values[link.column])
            for written in self.pending.values()
            for (label, _), values, _ in written
            for link in KINDS[label].links
        ]


def die() -> None:
    raise Died


def _out_of_time() -> None:
    raise SoftTimeLimitExceeded


def _fail() -> None:
    raise OperationalError("an error of the machine")


_STRIKES = {"death": die, "limit": _out_of_time, "error": _fail}


def _json(values: Values) -> Values:
    return {name: _text(value) for name, value in values.items()}


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, uuid.UUID) else value
