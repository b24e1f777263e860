"""Heartbeats of the processes that work on a log."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from ..backends import clocks
from ..backends.connections import watched
from ..exceptions import DatabaseHindered
from ..exceptions.failures import isolated
from ..exceptions.loggers import logger_of
from ..models import Heartbeat
from ..models.moments import ServerNow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


logger = logger_of("integrity.control")

#: The name of beat among the heartbeats.
BEAT = "beat"
#: The name of a process of beat begins so; its host follows.
BEAT_PROCESS = f"{BEAT}@"
#: Seconds between two heartbeats that tasks record of one process.
BEAT_SECONDS = 5
#: Seconds between two heartbeats of a process that records its own, beside its work.
OWN_SECONDS = 3


def record(name: str, *, using: str, clock: Callable[[], float | None] = clocks.own) -> None:
    """Record that the process `name` is alive and works on this log, at most every `BEAT_SECONDS`.

    `clock` returns the time of the process, or None if it is unknown. If the write fails, the error
    is logged and the process continues.
    """
    with isolated(f"a heartbeat in {using}", passing=(DatabaseHindered,)), watched(using):
        rows = Heartbeat.objects.using(using).filter(name=name)
        a_moment_ago = ServerNow() - dt.timedelta(seconds=BEAT_SECONDS)
        if rows.filter(seen_at__range=(a_moment_ago, ServerNow())).exists():
            return  # a commit for each small task would cost more than the task
        write(name, using=using, clock=clock)


def write(
    name: str,
    *,
    using: str,
    clock: Callable[[], float | None] = clocks.own,
    queues: Sequence[str] | None = None,
) -> None:
    """Write the heartbeat of a process, and the queues that it consumes if these are given."""
    rows = Heartbeat.objects.using(using).filter(name=name)
    figures: dict[str, Any] = {"clock_skew_seconds": clocks.skew(using, clock)}
    if queues is not None:
        figures["queues"] = list(queues)
    if not rows.update(seen_at=ServerNow(), **figures):
        rows.bulk_create([Heartbeat(name=name, **figures)], ignore_conflicts=True)
