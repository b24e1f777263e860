"""Which clocks differ from the log server's, and what that affects. Pure.

This app uses only the clock of the log's server, so another clock cannot harm it. But people
compare times, and the project's own messages use other clocks.

This process reads the clocks of the databases. A worker compares its own with each heartbeat. The
clock of beat is known from its last tick, so a tick that waited in the queue makes it look late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...backends.clocks import SKEW_SECONDS
from .verdicts import Check

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ...backends.clocks import Reading
    from ...report.heartbeats import HeartbeatRow

#: A heartbeat that is older does not tell what the clock shows now.
RECENT_SECONDS = 180

OF_PROCESSES = "its log lines, and `eta` and `expires` of your own messages, are by that clock"
OF_BEAT = "or its last tick waited as long in the queue"
OF_DATABASES = "what it writes as the time into your rows does not compare with receipts"
REMEDY = "Let each machine follow a time server (chrony, systemd-timesyncd)"


def clocks(log: str, readings: Mapping[str, Reading], rows: Iterable[HeartbeatRow]) -> Check:
    """Return whether the clocks agree with that of the server of `log`."""
    off = [*_process(readings[log]), *_databases(log, readings), *_processes(rows)]
    if off:
        texts = "; ".join(f"{name} is {_span(ahead)} {log}: {why}" for name, ahead, why in off)
        return Check(name="clocks", ok=False, detail=f"{texts}. {REMEDY}")
    vague = sorted(
        alias for alias, reading in readings.items() if reading.within_seconds > SKEW_SECONDS
    )
    unsure = f"; {', '.join(vague)} answered too slowly to compare" if vague else ""
    detail = f"no clock is more than {SKEW_SECONDS:g} s off that of {log}{unsure}"
    return Check(name="clocks", ok=True, detail=detail)


#: The owner of the clock, the seconds by which it is ahead, and the effect.
Off = tuple[str, float, str]


def _process(of_log: Reading) -> Iterator[Off]:
    if _is_off(of_log.ahead_seconds, of_log.within_seconds):
        yield "this process", of_log.ahead_seconds, OF_PROCESSES


def _databases(log: str, readings: Mapping[str, Reading]) -> Iterator[Off]:
    of_log = readings[log]
    for alias, reading in readings.items():
        ahead = of_log.ahead_seconds - reading.ahead_seconds
        if _is_off(ahead, of_log.within_seconds + reading.within_seconds):
            yield alias, ahead, OF_DATABASES


def _processes(rows: Iterable[HeartbeatRow]) -> Iterator[Off]:
    for row in rows:
        ahead = row["clock_skew_seconds"]
        if ahead is None or row["seconds_ago"] > RECENT_SECONDS or not _is_off(ahead, 0.0):
            continue
        late_beat = row["name"] == "beat" and ahead < 0
        yield row["name"], ahead, OF_BEAT if late_beat else OF_PROCESSES


def _is_off(ahead: float, within: float) -> bool:
    return abs(ahead) - within > SKEW_SECONDS


def _span(ahead: float) -> str:
    return f"{abs(ahead):,.1f} s {'ahead of' if ahead > 0 else 'behind'}"
