"""Notify workers of recorded deletions, outside the thread that recorded them.

Each `deletion_recorded` signal asks for one message for its log. Requests for the same log are
merged. A message may be lost, or be sent twice: the state is in the database, and beat finds work
that no message announced.

Note [Never in the request]: publishing takes a millisecond when the broker is healthy, and up to
the socket timeout when it hangs. So a thread publishes. It starts with the first notification of
the process (never before a fork), and tries again after a pause when the broker fails.

Note [Inline]: with CELERY_TASK_ALWAYS_EAGER, tasks run in the thread that committed, before its
delete returns. A separate thread would keep a connection to each database open, and a test runner
could not drop the test databases.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import threading
from typing import TYPE_CHECKING

from .. import conf
from ..exceptions.loggers import logger_of
from ..signals import deletion_recorded

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logger_of("integrity.notifier")

#: The pause between two rounds, in which notifications are merged. Publishing uses more CPU time
#: than a delete does, and both share one process.
REST_SECONDS = 0.05


class Notifier:
    """A thread that calls `publish(alias)` once for each alias notified since its last round."""

    def __init__(self, publish: Callable[[str], None]) -> None:
        self._publish = publish
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        """Start without a thread, with new locks: after a fork, an inherited lock may be held."""
        self._changed, self._closing = threading.Condition(), threading.Event()
        self._pending: dict[str, None] = {}
        self._thread: threading.Thread | None = None

    def notify(self, alias: str) -> None:
        """Ask for a message. Return at once, whatever the broker does."""
        with self._changed:
            self._pending[alias] = None
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(
                    target=self._run, name="integrity-notifier", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def close(self, timeout_seconds: float) -> None:
        """Publish what is pending, within the timeout. Beat finds the rest."""
        self._closing.set()
        with self._changed:
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._closing.is_set())
                aliases, self._pending = list(self._pending), {}
            if not aliases:
                return
            self._round(aliases)
            self._closing.wait(REST_SECONDS)  # a new notification does not end this pause

    def _round(self, aliases: list[str]) -> None:
        """Publish each alias. After a failure, keep the rest for the next round, and pause."""
        for position, alias in enumerate(aliases):
            try:
                self._publish(alias)
            except Exception as error:  # noqa: BLE001 (publishing may fail in any way)
                logger.warning("cannot notify workers, beat will find the work: %s", error)
                self._pause(aliases[position:])
                return

    def _pause(self, unpublished: list[str]) -> None:
        with self._changed:
            self._pending = dict.fromkeys(unpublished) | self._pending
        if self._closing.wait(conf.current().wakeup_retry_seconds):
            with self._changed:
                self._pending = {}


class InlineNotifier:
    """Calls `publish(alias)` in the calling thread, where Celery runs tasks eagerly.

    A notification from within `publish`, for a delete that a task makes, is handled afterwards.
    """

    def __init__(self, publish: Callable[[str], None]) -> None:
        self._publish = publish
        self._state = threading.local()

    def notify(self, alias: str) -> None:
        """Do the work now. Raises what the tasks raise, if Celery propagates it."""
        pending: dict[str, None] | None = getattr(self._state, "pending", None)
        if pending is not None:
            pending[alias] = None
            return
        self._state.pending = pending = {alias: None}
        try:
            while pending:
                self._publish(pending.popitem()[0])
        finally:
            self._state.pending = None


def connect() -> None:
    """Notify workers after each recorded deletion, if Celery is installed."""
    if importlib.util.find_spec("celery") is None:
        return
    from .celery import is_eager, publish_dispatch

    notifier, inline = Notifier(publish_dispatch), InlineNotifier(publish_dispatch)
    atexit.register(notifier.close, timeout_seconds=1.0)

    def notify(using: str, **_: object) -> None:
        if conf.current().wakeups:
            (inline if is_eager() else notifier).notify(using)

    deletion_recorded.connect(notify, weak=False, dispatch_uid="integrity.notifier")
