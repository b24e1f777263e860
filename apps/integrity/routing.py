"""Which queue a task belongs to. Pure functions of names: settings may import this."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Queue of what concerns no single child database.
CONTROL = "integrity"

#: Tasks whose first argument is a child database.
PER_DATABASE = frozenset({"integrity.cascade", "integrity.verify", "integrity.scan"})


def queue_for(database: str) -> str:
    """The queue of one child database: a database that is down keeps no other waiting."""
    return f"{CONTROL}.{database}"


def route_task(
    name: str,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    _options: Mapping[str, Any],
    **_context: Any,
) -> dict[str, str] | None:
    """A router for Celery's `task_routes`; None for tasks that are not of this app."""
    given = [*(args or ()), *(kwargs or {}).values()]
    if name in PER_DATABASE and given:
        return {"queue": queue_for(given[0])}
    return {"queue": CONTROL} if name.startswith(f"{CONTROL}.") else None
