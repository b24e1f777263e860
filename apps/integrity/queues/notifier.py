"""Wake-ups: hints that there is work, published outside the thread that made it.

Takes `deletion_recorded`; gives one message for each log, merged, within a bounded time. A wake-up
may be lost or come twice: the state is in the database, and beat finds what nobody announced.

Note [Never in the request]: publishing costs a millisecond when the broker is well, and up to the
socket timeout when it hangs, so it happens in a thread that starts with the first wake-up of the
process (never before a fork) and retries after a pause.

Note [In place]: with CELERY_TASK_ALWAYS_EAGER tasks run in the thread that has committed, before
its delete returns. A thread of ours would keep a connection to each database open, and no test
could drop them.
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

logger = logger_of("integrity.wakeup")

#: Between two rounds. What is woken meanwhile is merged: publishing takes more of a processor than
#: a delete does, and in one process they share it.
REST_SECONDS = 0.05


class Publisher:
    """A thread that calls `publish(alias)` for each alias woken since its last round."""

    def __init__(self, publish: Callable[[str], None]) -> None:
        self._publish = publish
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        """A forked process has none of its parent's threads, and must not trust its locks."""
        self._changed, self._closing = threading.Condition(), threading.Event()
        self._pending: dict[str, None] = {}
        self._thread: threading.Thread | None = None

    def wake(self, alias: str) -> None:
        """Ask for a message; returns at once, whatever the broker does."""
        with self._changed:
            self._pending[alias] = None
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(
                    target=self._run, name="integrity-wakeup", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def close(self, timeout_seconds: float) -> None:
        """Publish what is pending, for so long at most; what remains is left to beat."""
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
            self._closing.wait(REST_SECONDS)  # not woken by each delete

    def _round(self, aliases: list[str]) -> None:
        """Publish each; after a failure keep the rest and pause: let a dead broker be."""
        for position, alias in enumerate(aliases):
            try:
                self._publish(alias)
            except Exception as error:  # noqa: BLE001 (a hint may fail in any way)
                logger.warning("broker does not take wake-ups, beat finds the work: %s", error)
                self._pause(aliases[position:])
                return

    def _pause(self, unpublished: list[str]) -> None:
        with self._changed:
            self._pending = dict.fromkeys(unpublished) | self._pending
        if self._closing.wait(conf.current().wakeup_retry_seconds):
            with self._changed:
                self._pending = {}


class InPlace:
    """Calls `publish(alias)` in the thread that wakes, where Celery calls tasks in place.

    What is woken meanwhile, by deletes of the tasks themselves, comes after it and not inside it.
    """

    def __init__(self, publish: Callable[[str], None]) -> None:
        self._publish = publish
        self._state = threading.local()

    def wake(self, alias: str) -> None:
        """Do the work now. Raises what the tasks raise, if Celery lets them."""
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
    """Publish a wake-up after each recorded deletion, if the project has Celery."""
    if importlib.util.find_spec("celery") is None:
        return
    from .celery import is_eager, publish_dispatch

    publisher, in_place = Publisher(publish_dispatch), InPlace(publish_dispatch)
    atexit.register(publisher.close, timeout_seconds=1.0)

    def wake(using: str, **_: object) -> None:
        if conf.current().wakeups:
            (in_place if is_eager() else publisher).wake(using)

    deletion_recorded.connect(wake, weak=False, dispatch_uid="integrity.wakeup")
