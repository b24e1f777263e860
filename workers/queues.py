"""One queue per database, and one for the rest. Pure functions of names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kombu import Exchange, Queue

from apps.integrity.routing import CONTROL, queue_for

if TYPE_CHECKING:
    from collections.abc import Iterable


def task_queues(aliases: Iterable[str]) -> tuple[Queue, ...]:
    """The queues of a project with these child databases.

    Each has its own exchange: on a shared one, a message reaches every queue.
    """
    names = (CONTROL, *map(queue_for, aliases))
    return tuple(Queue(name, Exchange(name, type="direct"), routing_key=name) for name in names)
