"""A process records its own heartbeat, and the queues that it consumes, beside its work.

Note [Beside the work]: idle workers run no task that could record one, and one that is busy for a
minute would look dead. So a thread for each log records it each `OWN_SECONDS`, in two statements.
It opens a connection for them and closes it again: a process of a pool that is forked meanwhile
must not inherit one, and a worker needs no more connections than before. If a log does not answer,
its thread waits, and nothing else does.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from django.db import connections

from .. import relations
from ..backends.connections import connect, warn_once
from ..control import heartbeats
from ..exceptions.redaction import reason_of_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: How long the end of a process waits for a heartbeat that is being recorded.
STOP_SECONDS = 1.0


class OwnHeartbeat:
    """Records heartbeats of the process `name` until it is stopped.

    `queues` returns those that it consumes now; while it returns None, nothing is recorded.
    """

    def __init__(self, name: str, queues: Callable[[], Sequence[str] | None]) -> None:
        self._name, self._queues = name, queues
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to record, in each log."""
        for using in relations.catalogue().log_databases:
            thread = threading.Thread(
                target=self._run, args=(using,), name="integrity-heartbeat", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Record no more."""
        self._over.set()
        for thread in self._threads:
            thread.join(STOP_SECONDS)

    def _run(self, using: str) -> None:
        without_pool(using)
        while True:
            try:
                self._record(using)
            except Exception as error:  # noqa: BLE001 (the next one may succeed)
                warn_once(f"no heartbeat is recorded in {using}: {reason_of_error(error)}")
            if self._over.wait(heartbeats.OWN_SECONDS):
                return

    def _record(self, using: str) -> None:
        queues = self._queues()
        if queues is None:
            return
        try:
            connect(connections[using])
            heartbeats.write(self._name, using=using, queues=sorted(queues))
        finally:
            connections[using].close()


def without_pool(using: str) -> None:
    """Let this thread's connection be no part of a pool, which forked processes would inherit."""
    connection = connections[using]
    given = connection.settings_dict
    options = {key: value for key, value in given.get("OPTIONS", {}).items() if key != "pool"}
    connection.settings_dict = {**given, "OPTIONS": options}
