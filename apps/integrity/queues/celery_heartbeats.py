"""Heartbeats of Celery's workers and of beat, which their main processes record."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from celery import signals

from .. import relations
from ..control.heartbeats import BEAT_PROCESS
from ..routing import queue_names
from . import celery_start
from .own_heartbeat import OwnHeartbeat

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

#: Those of this process.
_running: list[OwnHeartbeat] = []


def connect() -> None:
    """Let each worker and each beat of this project record its heartbeats."""
    uid = __name__
    signals.worker_ready.connect(_start_of_worker, weak=False, dispatch_uid=uid)
    signals.worker_shutdown.connect(_stop, weak=False, dispatch_uid=uid)
    signals.beat_init.connect(_start_of_beat, weak=False, dispatch_uid=uid)
    signals.beat_embedded_init.connect(_start_of_beat, weak=False, dispatch_uid=uid)


def _start_of_worker(sender: Any, **_: Any) -> None:
    """Begin, once the worker consumes: `sender` is its consumer. A reconnect is no new start."""
    if not _running:
        celery_start.warn(sender.app)
        _start(str(sender.hostname), consumed_by(sender.app))


def consumed_by(app: Celery) -> Callable[[], list[str] | None]:
    """Return a function that returns the queues of this app which the worker consumes now.

    It returns None until the worker has consumed one of them.
    """
    ours, known = {*queue_names(relations.catalogue().places)}, list[bool]()

    def queues() -> list[str] | None:
        consumed = [*ours.intersection(app.amqp.queues.consume_from)]
        known.extend([True] if consumed else [])
        return consumed if known else None

    return queues


def _start_of_beat(**_: Any) -> None:
    _start(f"{BEAT_PROCESS}{socket.gethostname()}", list)


def _start(name: str, queues: Callable[[], list[str] | None]) -> None:
    heartbeat = OwnHeartbeat(name, queues)
    _running.append(heartbeat)
    heartbeat.start()


def _stop(**_: Any) -> None:
    while _running:
        _running.pop().stop()
