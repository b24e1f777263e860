"""When workers and beat were last seen, and when that is too long ago."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from ..backends import clocks
from ..models import Heartbeat

if TYPE_CHECKING:
    from collections.abc import Iterator


#: Beat ticks each minute. It is silent when its last tick is older than this.
BEAT_SILENT_SECONDS = 180
#: While there is work, the workers are silent when the last of them was seen longer ago than this.
WORKER_SILENT_SECONDS = 60


class HeartbeatRow(TypedDict):
    """When a process was last seen, and by how much its clock was ahead of the log's then.

    `clock_skew_seconds` is None where that could not be told. Of beat it is by what its last tick
    said: less, if that one waited in the queue.
    """

    name: str
    seconds_ago: float
    clock_skew_seconds: float | None


def heartbeats_in(using: str) -> Iterator[HeartbeatRow]:
    """When each process was last seen by that log."""
    rows = Heartbeat.objects.using(using).annotate(age=clocks.age("seen_at")).order_by("name")
    for name, age, skew in rows.values_list("name", "age", "clock_skew_seconds"):
        seconds = clocks.seconds(age) or 0.0
        yield {"name": name, "seconds_ago": seconds, "clock_skew_seconds": skew}
