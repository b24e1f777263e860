"""Notify workers of recorded deletions, outside the thread that recorded them.

Each `deletion_recorded` signal asks for messages: see Note [One hop]. Requests for the same message
are merged. A message may be lost, or be sent twice: the state is in the database, and beat (or
`integrity drain`) finds work that no message announced.

Note [One hop]: the messages go to the queues of the parent's child databases, and the first worker
that takes one dispatches what is recorded (`celery.cascade_into`, or `messages.work_for` where the
setting `notify` names another task queue). For a parent with more than
`DIRECT_MAX` child databases, one message goes to the control queue instead. Its worker dispatches,
and notifies the child databases.

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
from typing import TYPE_CHECKING, Any

from .. import conf, relations
from ..conf.steps import without_steps
from ..exceptions.loggers import logger_of
from ..report import probes
from ..routing import CONTROL, queue_for
from ..signals import deletion_recorded
from . import messages
from .inline import InlineNotifier

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    #: What `publish` takes. Equal messages are merged.
    Message = Hashable

logger = logger_of("integrity.notifier")

#: The pause after each message of a round, in which notifications are merged: a process sends at
#: most four messages a second. Publishing takes as much CPU time as a delete, and both share one
#: process, so more messages would slow down one in twenty of its deletes.
REST_SECONDS = 0.25
#: A parent with more child databases than this notifies the control queue. See Note [One hop].
DIRECT_MAX = 4


class Notifier:
    """A thread that calls `publish(message)` once for each message asked for since its last round.

    The first messages are published at once.
    """

    def __init__(self, publish: Callable[[Any], None]) -> None:
        self._publish = publish
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        """Start without a thread, with new locks: after a fork, an inherited lock may be held."""
        self._changed, self._closing = threading.Condition(), threading.Event()
        self._pending: dict[Message, None] = {}
        self._thread: threading.Thread | None = None

    def notify(self, *messages: Message) -> None:
        """Ask for messages. Return at once, whatever the broker does."""
        with self._changed:
            self._pending |= dict.fromkeys(messages)
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
                asked, self._pending = list(self._pending), {}
            if not asked:
                return
            self._round(asked)
            # A new notification does not end this pause.
            self._closing.wait(REST_SECONDS * len(asked))

    def _round(self, messages: list[Message]) -> None:
        """Publish each message. After a failure, keep the rest for the next round, and pause."""
        for position, message in enumerate(messages):
            try:
                self._publish(message)
            except Exception as error:  # noqa: BLE001 (publishing may fail in any way)
                logger.warning("cannot notify workers, a later sweep finds the work: %s", error)
                self._pause(messages[position:])
                return

    def _pause(self, unpublished: list[Message]) -> None:
        with self._changed:
            self._pending = dict.fromkeys(unpublished) | self._pending
        if self._closing.wait(conf.current().wakeup_retry_seconds):
            with self._changed:
                self._pending = {}


def connect() -> None:
    """Notify workers after each recorded deletion: as the setting `notify` says, else by Celery."""
    celery = _connect_celery()
    notifier, inline = Notifier(_publish), InlineNotifier(_publish)
    atexit.register(notifier.close, timeout_seconds=1.0)

    def notify(parent: str, using: str, **_: object) -> None:
        settings = conf.current()
        if not settings.wakeups or not (settings.notify or celery):
            return
        databases = without_steps(relations.catalogue().databases_of(parent))
        direct = databases if len(databases) <= DIRECT_MAX else ()
        if settings.notify:
            queues = map(queue_for, direct) if direct else [CONTROL]
            notifier.notify(*((messages.send_from_thread, queue) for queue in queues))
        elif celery:
            place = inline if celery.is_eager() else notifier
            place.notify(
                *((celery.publish_cascade, database) for database in direct),
                *([] if direct else [(celery.publish_dispatch, using)]),
            )

    deletion_recorded.connect(notify, weak=False, dispatch_uid="integrity.notifier")


def _publish(message: tuple[Callable[[str], None], str]) -> None:
    send, name = message
    send(name)


def _connect_celery() -> Any:
    """Return the module that sends Celery's messages; None where Celery is not installed."""
    if importlib.util.find_spec("celery") is None:
        return None
    from . import celery, celery_heartbeats

    probes.register_broker(celery.broker_silence, celery.is_eager)
    celery_heartbeats.connect()
    return celery
