"""What workers and beat do, in one process of a project without Celery, until it is told to end.

The timetable is that of beat; a round without work costs one look at each log. A database that is
away is told of, keeps no other waiting, and is asked again. So is whatever else goes wrong: nothing
but a signal ends the process.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from django.db import connections

from .. import cascade, routing, scan
from ..backends.connections import tolerated
from ..cascade import verification
from ..control import circuit_breaker, heartbeats
from ..exceptions import DatabaseHindered
from ..isolation.failures import FAILURES, ends_the_process
from ..isolation.loggers import logger_of, origin_of
from ..isolation.redaction import reason_of_error
from ..queues import dispatch, maintenance
from .exits import Exit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from .voice import Tell

logger = logger_of("integrity.forever")

#: The pause after a round that found nothing to do.
IDLE_SECONDS = 1.0
#: How long one database is worked on before the others, and a signal to stop, get their turn.
TURN_SECONDS = 2.0


class Forever:
    """Dispatch, cascade, verify, scan and tend the logs, for those child databases."""

    def __init__(self, chosen: Sequence[str], *, tell: Tell) -> None:
        self.chosen, self.tell = chosen, tell
        self.name = f"drain@{socket.gethostname()}"
        self.stopping = threading.Event()
        self.more = False
        self.away: dict[str, str] = {}
        self.timetable: dict[Callable[[], None], float] = {
            self._dispatch: IDLE_SECONDS,
            self._beat: routing.PERIODS["integrity.dispatch"],
            self._maintain: routing.PERIODS["integrity.maintain"],
            self._scan: routing.PERIODS["integrity.scan"],
        }

    def run(self) -> Exit:
        """Until SIGTERM or SIGINT; the turn at work then is finished first. Main thread only."""
        before = {each: signal.signal(each, self._stop) for each in (signal.SIGTERM, signal.SIGINT)}
        self._tell(f"at work on {', '.join(self.chosen) or 'nothing'}")
        due_at = dict.fromkeys(self.timetable, 0.0)
        try:
            while not self.stopping.is_set():
                self.more = False
                for act, period in self.timetable.items():
                    if time.monotonic() >= due_at[act] and not self.stopping.is_set():
                        self._try(act)
                        due_at[act] = time.monotonic() + (0 if self.more else period)
                self.stopping.wait(0 if self.more else IDLE_SECONDS)
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
        self._tell("stopped")
        return Exit.CLEAN

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self.stopping.set()

    def _try(self, act: Callable[[], None], name: str = "a log") -> None:
        try:
            act()
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
        _, due = dispatch.sweep_all()
        for alias in self._turns(due):
            self._try(partial(self._cascade, alias), alias)

    def _cascade(self, alias: str) -> None:
        done = cascade.drain(alias, seconds=TURN_SECONDS)
        self._note(alias, done.unreachable)
        self.more = self.more or done.more
        if done.rows:
            self._tell(f"{alias}: {done.rows.total():,} rows, {done.finished:,} cascades")

    def _beat(self) -> None:
        for using in circuit_breaker.answering_logs():
            with tolerated(using):
                heartbeats.beat(self.name, using=using)

    def _maintain(self) -> None:
        """Tend each log, and verify what is due."""
        for using in circuit_breaker.answering_logs():
            due = frozenset[str]()
            with tolerated(using):
                due = maintenance.maintain(using)
            for alias in self._turns(due):
                self._try(partial(self._verify, alias), alias)

    def _verify(self, alias: str) -> None:
        self._note(alias, verification.verify(alias, seconds=TURN_SECONDS).unreachable)

    def _scan(self) -> None:
        logs = circuit_breaker.answering_logs()
        due = {each for each in self.chosen if any(scan.due(each, using=using) for using in logs)}
        for alias in self._turns(due):
            self._try(partial(self._scan_one, alias), alias)

    def _scan_one(self, alias: str) -> None:
        _, unreachable = scan.scan(alias, mode=scan.Mode(gentle=True))
        self._note(alias, unreachable)

    def _turns(self, due: set[str] | frozenset[str]) -> list[str]:
        """The databases to work on now: none when it is time to end."""
        return [] if self.stopping.is_set() else [each for each in self.chosen if each in due]

    def _note(self, name: str, reason: str) -> None:
        """Tell of what keeps a database from work once, not in each round."""
        if reason and self.away.get(name) != reason:
            self._tell(f"{name} {reason}")
        self.away[name] = reason

    def _tell(self, line: str) -> None:
        """Who reads it may have gone, or not know its characters: the work goes on."""
        with contextlib.suppress(OSError, ValueError):
            self.tell(line)
