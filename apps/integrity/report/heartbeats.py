"""When workers and beat were last seen, and when that is too long ago."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from ..backends import clocks
from ..models import Heartbeat

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


#: The age of a heartbeat that was never seen.
NEVER = float("inf")
#: Beat ticks each minute. It is silent when its last tick is older than this.
BEAT_SILENT_SECONDS = 180
#: While there is work, the workers are silent when the last of them was seen longer ago than this.
WORKER_SILENT_SECONDS = 60


class HeartbeatRow(TypedDict):
    """When a process was last seen, and how far its clock was then ahead of the log server's.

    `clock_skew_seconds` is None where it could not be measured. For beat it comes from the last
    tick, so it is too small if that tick waited in the queue.
    """

    name: str
    seconds_ago: float
    clock_skew_seconds: float | None


def heartbeats_in(using: str) -> Iterator[HeartbeatRow]:
    """Yield when each process was last seen, as one log recorded it."""
    rows = Heartbeat.objects.using(using).annotate(age=clocks.age("seen_at")).order_by("name")
    for name, age, skew in rows.values_list("name", "age", "clock_skew_seconds"):
        seconds = clocks.seconds(age) or 0.0
        yield {"name": name, "seconds_ago": seconds, "clock_skew_seconds": skew}


def youngest(rows: Iterable[HeartbeatRow]) -> float:
    """Return the seconds since the last of those heartbeats, `NEVER` if there is none. Pure."""
    return min((row["seconds_ago"] for row in rows), default=NEVER)


def is_beat_silent(seconds: float) -> bool:
    """Return whether beat is silent, if its last heartbeat is `seconds` old. Pure."""
    return seconds > BEAT_SILENT_SECONDS


def are_workers_silent(seconds: float) -> bool:
    """Return whether workers are silent, if their last heartbeat is `seconds` old. Pure."""
    return seconds > WORKER_SILENT_SECONDS
