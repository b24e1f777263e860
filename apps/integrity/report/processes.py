"""Which processes are missing: workers of a queue, frozen workers, and beat.

Note [Who consumes a queue]: a process that records its own heartbeat (control/heartbeats.py) notes
its queues in it. A worker whose heartbeats its tasks record does not, and is busy between two of
them. While such a worker was seen within a minute, nobody can tell which queues are consumed, and
none is called missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import conf
from ..routing import CONTROL, queue_for
from . import remedies
from .fault import Fault
from .heartbeats import (
    NEVER,
    SILENT_SECONDS,
    WORKER_SILENT_SECONDS,
    beats_of,
    is_beat_silent,
    ticks_of,
    workers_of,
    youngest,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .fault import Figures
    from .heartbeats import HeartbeatRow
    from .rows import DatabaseRow

#: The name of a process that works without Celery begins so; its host follows.
IN_PROCESS = "drain@"
#: A claim that is as close to its end was not renewed twice.
RENEWED_SHARE = 1 / 3


def faults_of(seen: Figures) -> Iterator[Fault]:
    """Yield the faults of the kinds `workers` and `beat`. Pure."""
    workers = workers_of(seen.processes)
    consumed = consumed_queues(workers, seen.silent_after)
    for row in seen.databases:
        yield from _frozen(row, workers)
        if consumed is not None and is_unclaimed(row, seen.due_after):
            yield from _unconsumed(row, consumed)
    if not (seen.celery and needs_celery(seen.processes)):
        return
    beats = beats_of(seen.processes)
    alive = [row for row in [*workers, *beats] if row["seconds_ago"] <= seen.silent_after]
    if alive and consumed is not None and CONTROL not in consumed:
        cause = f"no worker consumes the queue {CONTROL}: nothing is verified or scanned"
        last = youngest(row for row in workers if CONTROL in (row["queues"] or ()))
        yield Fault(
            kind="workers",
            since_seconds=None if last == NEVER else last,
            cause=cause,
            remedy=remedies.worker(CONTROL),
        )
    elif (seconds := beat_silence(seen.processes)) is not None:
        since = None if seconds == NEVER else seconds
        cause = "nothing is verified or scanned"
        yield Fault(kind="beat", since_seconds=since, cause=cause, remedy=remedies.BEAT)


def consumed_queues(workers: Sequence[HeartbeatRow], silent_after: float) -> set[str] | None:
    """Return the queues that are consumed. None: see Note [Who consumes a queue]. Pure."""
    consumed = set[str]()
    for row in workers:
        if row["queues"] is None:
            if row["seconds_ago"] <= WORKER_SILENT_SECONDS:
                return None
        elif row["seconds_ago"] <= silent_after:
            consumed.update(row["queues"])
    return consumed


def needs_celery(processes: Iterable[HeartbeatRow]) -> bool:
    """Return whether no process works without Celery. Pure."""
    return not any(
        row["name"].startswith(IN_PROCESS) and row["seconds_ago"] <= WORKER_SILENT_SECONDS
        for row in processes
    )


def beat_silence(processes: Sequence[HeartbeatRow]) -> float | None:
    """Return since when beat is silent in seconds, `NEVER` if it was never seen, else None. Pure.

    Its processes may have heartbeats of their own, which tell soon. Else its ticks count: they wait
    where workers are busy.
    """
    tick = ticks_of(processes)
    ticked = NEVER if tick is None else tick["seconds_ago"]
    beats = beats_of(processes)
    own = youngest(beats)
    if beats and min(own, ticked) > SILENT_SECONDS:
        return min(own, ticked)
    return ticked if is_beat_silent(ticked) else None


def is_unclaimed(row: DatabaseRow, due_after: float) -> bool:
    """Return whether due work that may be done has had no worker for so long. Pure."""
    if row["state"] in {"hindered", "paused", "unknown"} or not row["pace"]:
        return False
    seconds = row["unclaimed_seconds"]
    return seconds is not None and seconds >= due_after


def _unconsumed(row: DatabaseRow, consumed: set[str]) -> Iterator[Fault]:
    queue = queue_for(row["database"])
    if queue not in consumed:
        yield Fault(
            kind="workers",
            subject=row["database"],
            since_seconds=row["unclaimed_seconds"],
            number=row["backlog"] - row["blocked"],
            cause=f"no worker consumes the queue {queue}",
            remedy=remedies.worker(queue),
        )


def _frozen(row: DatabaseRow, workers: Sequence[HeartbeatRow]) -> Iterator[Fault]:
    """Yield workers that have claimed work, and neither renew the claim nor are seen."""
    soon = conf.current().lease_seconds * RENEWED_SHARE
    for claim in row["claims"]:
        ages = [one["seconds_ago"] for one in workers if one["name"] == claim["worker"]]
        if ages and min(ages) > SILENT_SECONDS and claim["lease_seconds"] < soon:
            yield Fault(
                kind="workers",
                subject=row["database"],
                since_seconds=min(ages),
                number=claim["number"],
                cause=claim["worker"],
                next_try_seconds=max(0.0, claim["lease_seconds"]),
                remedy=remedies.frozen(row["database"]),
            )
