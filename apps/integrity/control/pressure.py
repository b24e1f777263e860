"""How fast to work on a child database: samples of its load → a pace. Pure.

Note [Unknown]: a load that cannot be told is not taken for none. Work goes on at `CAUTIOUS_SHARE`,
and the reason says what is unknown.

Note [Lag]: what a cascade writes reaches a replica later, so a lag that is measured comes too late
to keep a limit. What counts is how long the replica will take for all that is written by now: what
it has not replayed yet, by the speed at which it replays. From sample to sample, the share changes
so that the next second writes what the replica can replay, a little more while it is less than
`AIM` of the limit behind, and less while it is further behind. Nobody knows its speed at first, so
work begins slowly, and becomes faster while the replica keeps up.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from ..exceptions.redaction import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..conf.pressure import QuietHours

#: Shares of full speed: the least, the one where the load is unknown, and the highest one while a
#: database is busy: each step is followed by a rest of at least 30 % of its length.
LEAST_SHARE, CAUTIOUS_SHARE, BUSY_SHARE = 0.01, 0.25, 1 / 1.3
#: The first share where the lag of a replica is limited: nobody knows yet what it can replay.
FIRST_SHARE = 0.1
#: The replica may be behind by this share of the limit. See Note [Lag].
AIM = 0.75
#: From one sample to the next, the share changes by no more than these factors. The last one is for
#: a replica whose speed is known.
FACTOR_MIN, FACTOR_MAX, FACTOR_KNOWN = 0.25, 2.0, 4.0
#: A lag that grows by no more than these seconds is constant, as that of a standby that is late on
#: purpose. Then the share grows by this factor.
STEADY_SECONDS, FACTOR_STEADY = 0.05, 1.4
#: A sample that is older tells nothing any more.
STALE_SECONDS = 10.0
#: The longest rest for the sake of a share.
REST_SECONDS_MAX = 5.0
#: A replica that lacks less of the log than this has replayed it all.
NEGLIGIBLE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """How far the slowest replica is behind. None is unknown.

    `seconds` is the age of the newest change that it has replayed. `written` and `replayed` are
    positions in the server's log, in bytes.
    """

    seconds: float | None = None
    written: int | None = None
    replayed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The load of a database. `busy` is from 0 to 1; `unknown` says what could not be told."""

    busy: float | None = None
    lag: Lag | None = None
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The share of full speed at which to work, and why it is not all of it.

    The rest is what the next sample is compared with.
    """

    share: float = 1.0
    reason: str = ""
    behind: float = 0.0
    written: int | None = None
    replayed: int | None = None
    speed: float | None = None

    @property
    def is_slowed(self) -> bool:
        """Return whether the database is busy."""
        return self.share < 1

    def __str__(self) -> str:
        return f"slowed to {percent(self.share)}: {self.reason}"

    @classmethod
    def load(cls, document: Mapping[str, Any] | None) -> Self | None:
        """Return the pace that `document` holds, or None where it holds none.

        Another release, or another program, may have written it.
        """
        try:
            pace = cls(**document) if document else None
            if pace is None or not 0 < pace.share <= 1:
                return None
            return replace(pace, reason=plain(pace.reason), behind=float(pace.behind))
        except (TypeError, ValueError):
            return None

    def document(self) -> dict[str, Any]:
        """Return the pace for a column of JSON."""
        return asdict(replace(self, reason=plain(self.reason)))


def percent(share: float) -> str:
    """Return a share as text, at least 1 % where it is above 0."""
    return f"{max(share, 0.01) if share else 0:.0%}".replace("%", " %")


def pace_of(sample: Sample, *, max_lag: float | None, before: Pace | None, elapsed: float) -> Pace:
    """Return the pace until the next sample.

    `max_lag` is the limit in seconds, or None. `before` is the pace of the last sample, `elapsed`
    seconds ago; None where that tells nothing any more.
    """
    lag = _Behind(sample.lag, max_lag, before, elapsed) if sample.lag and max_lag else None
    shares = [*_shares(sample, lag)]
    share, reason = min(shares, default=(1.0, ""))
    if share < 1:
        share = max(LEAST_SHARE, min(share, BUSY_SHARE))
    return Pace(
        share=round(share, 4),
        reason=reason if share < 1 else "",
        behind=lag.seconds if lag else 0.0,
        written=lag.now.written if lag else None,
        replayed=lag.now.replayed if lag else None,
        speed=lag.speed if lag else None,
    )


def _shares(sample: Sample, lag: _Behind | None) -> Iterator[tuple[float, str]]:
    """Yield the share that each measure allows, with the reason."""
    for reason in sample.unknown:
        yield CAUTIOUS_SHARE, reason
    if sample.busy is not None:
        yield 1 - sample.busy, f"it is {percent(sample.busy)} busy"
    if lag:
        yield lag.share, lag.reason


@dataclass(slots=True)
class _Behind:
    """What a sample of a replica's lag allows. See Note [Lag]."""

    now: Lag
    limit: float
    before: Pace | None
    elapsed: float
    seconds: float = field(init=False)
    speed: float | None = field(init=False)
    share: float = field(init=False)
    reason: str = field(init=False)

    def __post_init__(self) -> None:
        backlog, written, replayed = self._bytes()
        self.seconds = self._seconds(backlog, replayed)
        self.speed = self._speed(backlog, replayed / self.elapsed if self.elapsed > 0 else 0.0)
        self.reason = f"replica is {self.seconds:.1f} s behind"
        if self.before is None:
            self.share = LEAST_SHARE if self.seconds >= self.limit else FIRST_SHARE
            self.reason += ", and its speed is not known yet"
            return
        missing = AIM * self.limit - self._expected(backlog, replayed)
        growth = 1 + missing / self.limit
        if missing > 0 and self.seconds <= self.before.behind + STEADY_SECONDS:
            growth = max(growth, FACTOR_STEADY)
        most = FACTOR_MAX
        if backlog is not None and backlog <= NEGLIGIBLE_BYTES:
            growth = FACTOR_MAX
        elif backlog and not replayed:  # the lag grows, whatever is written
            growth = min(growth, 1.0)
        if self.speed is not None and written > 0:
            fitting = (1 + missing / self.limit) * self.speed * self.elapsed / written
            growth, most = (max(growth, fitting) if missing > 0 else fitting), FACTOR_KNOWN
        share = self.before.share * max(FACTOR_MIN, min(growth, most))
        self.share = 1.0 if share > BUSY_SHARE else max(LEAST_SHARE, share)

    def _bytes(self) -> tuple[int | None, int, int]:
        """Return what is not replayed, and what was written and replayed since the last sample."""
        now, before = self.now, self.before
        if now.written is None or now.replayed is None:
            return None, 0, 0
        backlog = max(0, now.written - now.replayed)
        if before is None or before.written is None or before.replayed is None:
            return backlog, 0, 0
        # Negative ones are those of another server.
        return backlog, max(0, now.written - before.written), max(0, now.replayed - before.replayed)

    def _seconds(self, backlog: int | None, replayed: int) -> float:
        """Return how far the replica is behind, also where it tells nothing new."""
        told = self.now.seconds or 0.0
        if backlog is None or replayed > 0 or self.before is None:
            return told
        return 0.0 if backlog <= NEGLIGIBLE_BYTES else max(told, self.before.behind + self.elapsed)

    def _speed(self, backlog: int | None, rate: float) -> float | None:
        """Return the bytes that the replica replays in a second, as far as known.

        While it has enough to do, it is what it replays; else it is no less.
        """
        before = self.before
        if backlog is None or before is None or before.written is None or before.replayed is None:
            return None
        if backlog > NEGLIGIBLE_BYTES and before.speed is None:
            return rate
        if min(backlog, before.written - before.replayed) > NEGLIGIBLE_BYTES:
            return ((before.speed or 0.0) + rate) / 2
        return None if before.speed is None else max(before.speed, rate)

    def _expected(self, backlog: int | None, replayed: int) -> float:
        """Return the lag to reckon with."""
        before = self.before
        if backlog is None:
            grown = self.seconds - before.behind if before else 0.0
            return self.seconds + max(0.0, grown)
        if self.speed:
            speed = max(self.speed, replayed / self.elapsed)
            return max(self.seconds, backlog / speed)
        return self.seconds if replayed else self.seconds + self.elapsed


def rest_seconds(seconds: float, rows: int, *, share: float, max_rows: float | None) -> float:
    """Return how long after its begin a step lets the next one begin.

    The step took `seconds` and changed `rows`; `max_rows` may be changed in a second. A step that
    took long, such as for a lock, is followed by no more than `REST_SECONDS_MAX`.
    """
    rest = min(seconds / share - seconds, REST_SECONDS_MAX)
    return max(seconds + rest, rows / max_rows if max_rows else 0.0)


@dataclass(frozen=True, slots=True)
class Window:
    """Quiet hours of one day, in UTC."""

    begin: dt.datetime
    end: dt.datetime


def windows(hours: QuietHours, now: dt.datetime) -> Iterator[Window]:
    """Yield the windows around `now`, the earliest first.

    Where a clock is put back or forward in one of them, the window is the longer one: it holds each
    moment whose clock time is within the hours.
    """
    today = now.astimezone(hours.zone).date()
    for days in range(-2, 2):
        day = today + dt.timedelta(days=days)
        last = day + dt.timedelta(days=hours.end <= hours.begin)
        yield Window(
            min(_moments(day, hours.begin, hours.zone)), max(_moments(last, hours.end, hours.zone))
        )


def _moments(day: dt.date, time: dt.time, zone: dt.tzinfo) -> list[dt.datetime]:
    """Return the moments of a clock time. There are two where a clock is put back or forward."""
    both = (dt.datetime.combine(day, time.replace(fold=fold), zone) for fold in (0, 1))
    return [moment.astimezone(dt.UTC) for moment in both]


def quiet_until(hours: QuietHours | None, now: dt.datetime) -> dt.datetime | None:
    """Return when the quiet hours end, in UTC; None where it is not quiet."""
    until = None
    for window in windows(hours, now) if hours else ():
        if window.begin <= (until or now) < window.end:
            until = window.end
    return until


def seconds_awake(hours: QuietHours | None, now: dt.datetime) -> float:
    """Return the seconds since the last quiet hours; 0 during them, infinity without any."""
    if hours is None:
        return float("inf")
    if quiet_until(hours, now):
        return 0.0
    last = max(window.end for window in windows(hours, now) if window.end <= now)
    return (now - last).total_seconds()
