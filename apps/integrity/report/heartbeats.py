"""When workers and beat were last seen, and when that is too long ago."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from ..backends import clocks
from ..control.heartbeats import BEAT, BEAT_PROCESS
from ..models import Heartbeat

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from django.db.models import QuerySet

#: The age of a heartbeat that was never seen.
NEVER = float("inf")
#: A process with a heartbeat of its own, which beats each `control.heartbeats.OWN_SECONDS`, is
#: silent after this.
SILENT_SECONDS = 7.0
#: Beat is silent when its last tick is older than this: ticks wait where workers are busy.
BEAT_SILENT_SECONDS = 180
#: A worker whose heartbeats its tasks record may be busy between two of them, but not so long.
WORKER_SILENT_SECONDS = 60


class HeartbeatRow(TypedDict):
    """When a process was last seen, and how far its clock was then ahead of the log server's.

    `clock_skew_seconds` is None where it could not be measured. For beat it comes from the last
    tick, so it is too small if that tick waited in the queue. `queues` are those that the process
    consumes; None where it has not said.
    """

    name: str
    seconds_ago: float
    clock_skew_seconds: float | None
    queues: list[str] | None


def heartbeats_in(using: str) -> Iterator[HeartbeatRow]:
    """Yield when each process was last seen, as one log recorded it."""
    for row in with_ages(Heartbeat.objects.using(using)).order_by("name"):
        yield row_of(row)


def with_ages(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Return heartbeats with their ages, for `row_of`."""
    aged: QuerySet[Any] = rows.annotate(age=clocks.age("seen_at"))
    return aged


def row_of(row: Any) -> HeartbeatRow:
    """Return a heartbeat that was read with its age."""
    return {
        "name": row.name,
        "seconds_ago": clocks.age_of(row) or 0.0,
        "clock_skew_seconds": row.clock_skew_seconds,
        "queues": row.queues,
    }


def ticks_of(rows: Iterable[HeartbeatRow]) -> HeartbeatRow | None:
    """Return when the last tick of beat was handled. Pure."""
    return min((row for row in rows if row["name"] == BEAT), key=_age, default=None)


def beats_of(rows: Iterable[HeartbeatRow]) -> list[HeartbeatRow]:
    """Return the processes of beat, where they have a heartbeat of their own. Pure."""
    return [row for row in rows if row["name"].startswith(BEAT_PROCESS)]


def workers_of(rows: Iterable[HeartbeatRow]) -> list[HeartbeatRow]:
    """Return the heartbeats of workers. Pure."""
    return [row for row in rows if row["name"] != BEAT and not row["name"].startswith(BEAT_PROCESS)]


def _age(row: HeartbeatRow) -> float:
    return row["seconds_ago"]


def youngest(rows: Iterable[HeartbeatRow]) -> float:
    """Return the seconds since the last of those heartbeats, `NEVER` if there is none. Pure."""
    return min((row["seconds_ago"] for row in rows), default=NEVER)


def is_beat_silent(seconds: float) -> bool:
    """Return whether beat is silent, if its last heartbeat is `seconds` old. Pure."""
    return seconds > BEAT_SILENT_SECONDS


def are_workers_silent(seconds: float) -> bool:
    """Return whether workers are silent, if their last heartbeat is `seconds` old. Pure."""
    return seconds > WORKER_SILENT_SECONDS
