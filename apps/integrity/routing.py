"""Which queue a task belongs to, and how often each is started. Pure: settings may import this.

Intervals only, no crontab: those stumble over daylight saving time. A tick that nobody took
within its period expires, so that a stopped worker does not find a pile of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

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


#: Task → seconds between its ticks.
PERIODS = {"integrity.dispatch": 5.0, "integrity.maintain": 60.0, "integrity.scan": 60.0}


class Options(TypedDict):
    """How a tick is published."""

    queue: str
    expires: float


class Entry(TypedDict):
    """One line of the timetable; `schedule` in seconds."""

    task: str
    schedule: float
    options: Options


def beat_schedule(periods: Mapping[str, float] = PERIODS) -> dict[str, Entry]:
    """One entry per task, named after it."""
    return {
        task: Entry(task=task, schedule=period, options=Options(queue=CONTROL, expires=period))
        for task, period in periods.items()
    }


#: For `CELERY_BEAT_SCHEDULE`, alone or beside entries of the project's own.
BEAT_SCHEDULE = beat_schedule()
