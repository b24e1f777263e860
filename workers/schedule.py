"""The timetable of beat: what is started how often. Pure.

Intervals only, no crontab: those stumble over daylight saving time. A tick that nobody took
within its period expires, so that a stopped worker does not find a pile of them.
"""

from __future__ import annotations

from typing import TypedDict

from apps.integrity.routing import CONTROL

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


def beat_schedule(periods: dict[str, float] = PERIODS) -> dict[str, Entry]:
    """One entry per task, named after it."""
    return {
        task: Entry(task=task, schedule=period, options=Options(queue=CONTROL, expires=period))
        for task, period in periods.items()
    }
