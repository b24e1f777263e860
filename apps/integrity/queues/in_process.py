"""Do the work of workers and beat in the calling process: until it is done, or for ever."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import Error, connections

from .. import conf, routing
from ..backends.connections import tolerated
from ..conf.steps import is_step
from ..control import circuit_breaker, pacing
from ..exceptions import CrossDatabaseError, DatabaseHindered
from ..exceptions.failures import FAILURES, ends_the_process
from ..exceptions.loggers import logger_of, origin_of
from ..exceptions.redaction import reason_of_error
from ..log import claims
from ..report import remaining
from ..report.lengths import number_of
from . import dispatch, maintenance
from .base import Job, make_room, work_once
from .own_heartbeat import OwnHeartbeat

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from types import FrameType

    from .base import Outcome

    WriteLine = Callable[[str], object]

logger = logger_of("integrity.in_process")

#: Stands for the task among the owners of claims.
IN_PROCESS = "in-process"
#: The pause after a round that found nothing to do.
IDLE_SECONDS = 1.0
#: The pause before verification is tried again.
VERIFY_SECONDS = 0.2
#: The length of a time slice: then the next database follows, or the process stops.
SLICE_SECONDS = 2.0


@dataclass(slots=True)
class DrainResult:
    """What a drain did, and why some work is left.

    `unreachable`, `quiet`, `held` and `errors` are by database: the reason why it cannot be worked
    on, until when no work may begin there, what its verification waits for, and the error that its
    work raised. `unproven` counts cascades that
    are done and not verified; it is 0 without verification.
    """

    dispatched: int = 0
    cascaded: int = 0
    verified: int = 0
    kept: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    unproven: int = 0
    held: dict[str, str] = field(default_factory=dict)
    unreachable: dict[str, str] = field(default_factory=dict)
    quiet: dict[str, str] = field(default_factory=dict)
    errors: dict[str, Exception] = field(default_factory=dict)


def drain(
    databases: Sequence[str], *, verify: bool, progress: WriteLine, deadline: float = float("inf")
) -> DrainResult:
    """Dispatch, cascade and (with `verify`) verify until a round changes nothing, or time is up.

    `deadline` is a time of the monotonic clock. With `verify`, also wait until finished cascades
    are verified. A failure in one database does not hold up the others; its error is in the result.
    """
    run = _Drain(databases, verify=verify, progress=progress, deadline=deadline)
    run.until_done()
    return run.result


class _Drain:
    """Rounds over all databases: a deletion that chains through several takes several rounds."""

    def __init__(
        self, databases: Sequence[str], *, verify: bool, progress: WriteLine, deadline: float
    ) -> None:
        self.databases, self.verify = databases, verify
        self.progress, self.deadline = progress, deadline
        self.result = DrainResult()
        #: Place → rows that were changed, or items that were erased.
        self.changed = Counter[str]()

    def until_done(self) -> None:
        result = self.result
        while True:
            changes = self._round()
            result.unproven = remaining.unverified(self.databases) if self.verify else 0
            if time.monotonic() >= self.deadline:
                break
            if not changes:
                if not result.unproven or result.unreachable or result.quiet:
                    break
                time.sleep(VERIFY_SECONDS)
        if result.unproven:
            why = f"cascades are verified {conf.current().grace_seconds:g} s after they are done"
            if result.held:
                why = "; ".join(f"{alias} {reason}" for alias, reason in result.held.items())
            self.progress(f"{result.unproven:,} not verified yet: {why}")

    def _round(self) -> int:
        """Work on each database once; return how much changed."""
        dispatched, _ = dispatch.sweep_all()
        self.result.dispatched += dispatched
        left_out = {*self.result.unreachable, *self.result.errors}
        return dispatched + sum(
            self._attempt(alias) for alias in self.databases if alias not in left_out
        )

    def _attempt(self, alias: str) -> int:
        try:
            return self._work_on(alias)
        except (Error, CrossDatabaseError, UnicodeError) as error:
            self.result.errors[alias] = error
            self.progress(f"{alias}: {reason_of_error(error)}")
            return 0

    def _work_on(self, alias: str) -> int:
        result = self.result
        make_room(alias)
        cascaded = work_once(Job.CASCADE, alias, seconds=self._seconds_left())
        result.cascaded += cascaded.finished
        result.kept += cascaded.kept
        result.rows += cascaded.rows
        if cascaded.rows:
            self.changed[alias] += cascaded.rows.total()
            unit = "item" if is_step(alias) else "row"
            self.progress(f"{alias}: {number_of(self.changed[alias], unit)} so far")
        changes, unreachable = cascaded.changes, cascaded.unreachable
        self._note_quiet(alias, cascaded.quiet)
        if self.verify and not unreachable:
            verified = work_once(Job.VERIFY, alias, seconds=self._seconds_left())
            result.verified += verified.verified
            result.kept += verified.kept
            self._note_held(alias, verified.held)
            changes, unreachable = changes + verified.changes, verified.unreachable
        if unreachable:
            result.unreachable[alias] = unreachable
        return changes

    def _note_quiet(self, alias: str, reason: str) -> None:
        before = self.result.quiet.pop(alias, "")
        if reason:
            self.result.quiet[alias] = reason
            if reason != before:
                self.progress(f"{alias}: {reason}")

    def _note_held(self, alias: str, reason: str) -> None:
        """Report at once what holds verification: it may take long."""
        before = self.result.held.pop(alias, "")
        if reason:
            self.result.held[alias] = reason
            if reason != before:
                self.progress(f"{alias}: not verified yet: {reason}")

    def _seconds_left(self) -> float:
        return max(0.0, min(self.deadline - time.monotonic(), conf.current().run_seconds))


class Worker:
    """Dispatches, cascades, verifies, scans and maintains the logs until a signal stops it.

    The periods are those of beat. A round without work costs one query in each log. A database
    that fails or is hindered is reported once and tried again; the others do not wait for it.
    """

    def __init__(self, databases: Sequence[str], *, progress: WriteLine) -> None:
        self.databases, self.progress = databases, progress
        self.name = f"drain@{socket.gethostname()}"
        self.stopping = threading.Event()
        #: Whether it was Ctrl-C that stopped it.
        self.interrupted = False
        self.more = False
        self.reasons: dict[str, str] = {}
        self.timetable: dict[Callable[[], None], float] = {
            self._dispatch: IDLE_SECONDS,
            self._maintain: routing.PERIODS["integrity.maintain"],
            self._scan: routing.PERIODS["integrity.scan"],
        }

    def run(self) -> None:
        """Work until SIGTERM or SIGINT; finish the time slice first. Main thread only."""
        handlers = {
            number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)
        }
        self._say(f"at work on {', '.join(self.databases) or 'nothing'}")
        due_at = dict.fromkeys(self.timetable, 0.0)
        heartbeat = OwnHeartbeat(self.name, lambda: routing.queue_names(self.databases))
        heartbeat.start()
        try:
            while not self.stopping.is_set():
                self.more = False
                for step, period in self.timetable.items():
                    if time.monotonic() >= due_at[step] and not self.stopping.is_set():
                        with self._isolated("a log"):
                            step()
                        due_at[step] = time.monotonic() + (0 if self.more else period)
                self.stopping.wait(0 if self.more else IDLE_SECONDS)
        finally:
            heartbeat.stop()
            for number, handler in handlers.items():
                signal.signal(number, handler)
            pacing.stopping.clear()
        self._say("stopped")

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self.interrupted = self.interrupted or number == signal.SIGINT
        self.stopping.set()
        pacing.stopping.set()

    @contextlib.contextmanager
    def _isolated(self, name: str) -> Iterator[None]:
        """Report a failure, and go on. Only a signal handler may end the process."""
        try:
            yield
        except DatabaseHindered as error:
            self._note(error.database, error.sentence)
        except FAILURES as error:
            if ends_the_process(error):
                raise
            with contextlib.suppress(Exception):
                connections.close_all()
            self._note(name, f"failed: {reason_of_error(error)}")
            # Not `exception`: it ends with the error's text, which may quote rows.
            logger.error("%s failed%s", name, origin_of(error))  # noqa: TRY400 (a traceback quotes rows)

    def _dispatch(self) -> None:
        """Dispatch recorded deletions, and cascade what is due."""
        _, due = dispatch.sweep_all()
        for alias, outcome in self._work_on(due, Job.CASCADE, seconds=SLICE_SECONDS):
            self.more = self.more or Job.CASCADE in outcome.next_jobs
            if outcome.rows:
                rows = number_of(outcome.rows.total(), "row")
                self._say(f"{alias}: {rows}, {number_of(outcome.finished, 'cascade')}")

    def _maintain(self) -> None:
        """Maintain each log, and verify what is due."""
        for using in circuit_breaker.answering_logs():
            due = frozenset[str]()
            with tolerated(using):
                due = maintenance.maintain(using)
            for _ in self._work_on(due, Job.VERIFY, seconds=SLICE_SECONDS):
                pass

    def _scan(self) -> None:
        for _ in self._work_on(dispatch.scans_due(), Job.SCAN):
            pass

    def _work_on(
        self, due: Collection[str], job: Job, *, seconds: float | None = None
    ) -> Iterator[tuple[str, Outcome]]:
        """Work on each database that is due, and yield what was done, until it is time to stop."""
        for alias in self.databases:
            if self.stopping.is_set():
                return
            outcome = None
            if alias in due:
                with self._isolated(alias):
                    make_room(alias)
                    owner = claims.owned_by(IN_PROCESS, self.name)
                    outcome = work_once(job, alias, seconds=seconds, owner=owner)
                    self._note(alias, outcome.unreachable or outcome.quiet)
            if outcome is not None:
                yield alias, outcome

    def _note(self, name: str, reason: str) -> None:
        """Report the reason why a database cannot be worked on once, and not in each round."""
        if reason and self.reasons.get(name) != reason:
            self._say(f"{name} {reason}")
        self.reasons[name] = reason

    def _say(self, line: str) -> None:
        """Write a progress line. Ignore a closed pipe, and characters that it cannot encode."""
        with contextlib.suppress(OSError, ValueError):
            self.progress(line)
