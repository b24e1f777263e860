"""One queue per database, and one for the rest. Pure functions of names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kombu import Exchange, Queue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

CONTROL = "integrity"
PER_DATABASE = frozenset({"integrity.cascade", "integrity.verify", "integrity.scan"})


def queue_for(alias: str) -> str:
    """The name of the queue whose tasks work in that database."""
    return f"{CONTROL}.{alias}"


def task_queues(aliases: Iterable[str]) -> tuple[Queue, ...]:
    """The queues of a project with these child databases.

    Each has its own exchange: on a shared one, a message reaches every queue.
    """
    names = (CONTROL, *map(queue_for, aliases))
    return tuple(Queue(name, Exchange(name, type="direct"), routing_key=name) for name in names)


def route_task(
    name: str,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    _options: Mapping[str, Any],
    **_context: Any,
) -> dict[str, str]:
    """Celery's router: a task that takes a database alias goes to the queue of that database."""
    given = [*(args or ()), *(kwargs or {}).values()]
    if name in PER_DATABASE and given:
        return {"queue": queue_for(given[0])}
    return {"queue": CONTROL}
