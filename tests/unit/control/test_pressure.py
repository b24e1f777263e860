"""How fast to work on a child database, by samples of its load. Pure."""

from __future__ import annotations

import bisect
import datetime as dt
import zoneinfo
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.integrity.backends.replica import Replica
from apps.integrity.conf.pressure import QuietHours
from apps.integrity.control import sampling
from apps.integrity.control.pressure import (
    BUSY_SHARE,
    CAUTIOUS_SHARE,
    FIRST_SHARE,
    LEAST_SHARE,
    REST_SECONDS_MAX,
    Lag,
    Pace,
    Sample,
    pace_of,
    quiet_until,
    rest_seconds,
    seconds_awake,
)

MEGABYTE = 1_000_000


def pace(sample: Sample, **given: object) -> Pace:
    return pace_of(sample, **{"max_lag": 2.0, "before": None, "elapsed": 1.0, **given})  # type: ignore[arg-type]


class TestBusy:
    def test_an_idle_database_is_worked_on_at_full_speed(self) -> None:
        assert pace(Sample(busy=0.0)) == Pace()
        assert not Pace().is_slowed

    def test_the_busier_it_is_the_slower(self) -> None:
        assert pace(Sample(busy=0.8)).share == pytest.approx(0.2)
        assert str(pace(Sample(busy=0.8))) == "slowed to 20 %: it is 80 % busy"

    def test_a_busy_database_always_gets_rests_of_thirty_percent(self) -> None:
        share = pace(Sample(busy=0.01)).share
        assert share == pytest.approx(BUSY_SHARE, abs=1e-3)
        rest = rest_seconds(0.03, 1, share=share, max_rows=None) - 0.03
        assert rest == pytest.approx(0.3 * 0.03, rel=0.01)

    def test_a_step_that_waited_long_is_not_followed_by_a_rest_of_minutes(self) -> None:
        assert rest_seconds(10, 1, share=0.01, max_rows=None) == 10 + REST_SECONDS_MAX
        assert rest_seconds(10, 10_000, share=0.01, max_rows=10) == 1_000

    def test_a_very_busy_one_is_still_worked_on(self) -> None:
        assert pace(Sample(busy=1.0)).share == LEAST_SHARE > 0

    def test_what_is_unknown_is_not_idle(self) -> None:
        found = pace(Sample(busy=0.0, unknown=("nobody knows",)))
        assert (found.share, found.reason) == (CAUTIOUS_SHARE, "nobody knows")

    def test_the_worst_of_all_counts(self) -> None:
        sample = Sample(busy=0.9, lag=Lag(seconds=0.0), unknown=("nobody knows",))
        assert pace(sample).share == pytest.approx(0.1)

    def test_a_pace_of_another_version_is_forgotten(self) -> None:
        for document in (
            {"velocity": 3},
            {"share": "x"},
            {"share": 7},
            {"behind": "x"},
            {"share": 0},
        ):
            assert Pace.load(document) is None
        found = Pace.load({"share": 0.5, "reason": "a\x1b[31m"})
        assert found is not None
        assert found.reason == "a\\x1b[31m"
        assert Pace.load(None) is None
        assert Pace.load(pace(Sample(busy=0.5)).document()) == pace(Sample(busy=0.5))


@dataclass
class Standby:
    """A replica that replays `capacity` bytes a second, `delay` seconds late, fed at a pace."""

    capacity: float
    delay: float = 0.0
    full: float = 20.0 * MEGABYTE
    step: float = 0.05
    written: float = 0.0
    replayed: float = 0.0
    pace: Pace | None = None
    history: list[tuple[float, float]] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)

    def lag(self, now: float) -> float:
        place = bisect.bisect_right([written for written, _ in self.history], self.replayed)
        return now - self.history[place][1] if place < len(self.history) else 0.0

    def work(self, number: float) -> float:
        """Write so many bytes; return the seconds."""
        now, sampled_at = 0.0, -1.0
        while self.written < number and now < 1_000:
            if now - sampled_at >= 1:
                lag = Lag(
                    seconds=self.lag(now), written=int(self.written), replayed=int(self.replayed)
                )
                self.pace, sampled_at = pace(Sample(lag=lag), before=self.pace), now
            assert self.pace
            self.written += self.full * self.pace.share * self.step
            self.history.append((self.written, now))
            seen = bisect.bisect_right([at for _, at in self.history], now - self.delay) - 1
            arrived = self.history[seen][0] if seen >= 0 else 0.0
            self.replayed = min(arrived, self.replayed + self.capacity * self.step)
            self.lags.append(self.lag(now))
            now += self.step
        return now


class TestLag:
    @pytest.mark.parametrize("times", [1.2, 3, 5])
    def test_a_slow_replica_stays_within_the_limit_and_is_used_to_the_full(
        self, times: float
    ) -> None:
        standby = Standby(capacity=20 * MEGABYTE / times)
        seconds = standby.work(200 * MEGABYTE)
        assert seconds <= 1.3 * 10 * times
        assert sorted(standby.lags)[int(0.99 * len(standby.lags))] <= 3

    def test_a_replica_that_keeps_up_costs_a_slow_start_and_no_more(self) -> None:
        assert Standby(capacity=40 * MEGABYTE).work(400 * MEGABYTE) <= 20 + 3

    def test_a_constant_delay_below_the_limit_does_not_slow_the_work_down_for_long(self) -> None:
        standby = Standby(capacity=40 * MEGABYTE, delay=1.0)
        assert standby.work(800 * MEGABYTE) <= 40 + 11
        assert standby.pace
        assert (standby.pace.share, standby.pace.behind) == (1, pytest.approx(1, abs=0.2))

    def test_a_replica_that_replays_nothing_brings_the_work_down_to_the_least(self) -> None:
        before = Pace(written=0, replayed=0)
        for second in range(1, 6):
            lag = Lag(written=second * MEGABYTE, replayed=0)
            before = pace(Sample(lag=lag), before=before)
        assert before.share == LEAST_SHARE
        assert str(before) == "slowed to 1 %: replica is 5.0 s behind"

    def test_the_first_sample_knows_no_speed(self) -> None:
        assert pace(Sample(lag=Lag(written=5, replayed=5))).share == FIRST_SHARE
        assert pace(Sample(lag=Lag(seconds=3.0))).share == LEAST_SHARE

    def test_positions_of_another_server_are_not_compared(self) -> None:
        before = Pace(share=1.0, written=900 * MEGABYTE, replayed=900 * MEGABYTE)
        lag = Lag(seconds=0.1, written=3 * MEGABYTE, replayed=2 * MEGABYTE)
        assert pace(Sample(lag=lag), before=before).share > 0.7

    def test_seconds_alone_are_enough(self) -> None:
        share, before = 1.0, Pace(share=1.0)
        for seconds in (0.5, 1.5, 2.5, 3.5):
            before = pace(Sample(lag=Lag(seconds=seconds)), before=before)
            assert before.share <= share
            share = before.share
        assert share < 0.2
        for _ in range(9):
            before = pace(Sample(lag=Lag(seconds=0.2)), before=before)
        assert before.share == 1


class TestSlowest:
    def replica(self, **given: object) -> Replica:
        values = {"name": "walreceiver", "written": 9, "replayed": 9, "seconds": None}
        return Replica(**{**values, "visible": True, **given})  # type: ignore[arg-type]

    def test_the_slowest_of_several_counts(self) -> None:
        found = sampling.slowest(
            [self.replica(seconds=0.5), self.replica(replayed=4, seconds=2.5), self.replica()]
        )
        assert found == Lag(seconds=2.5, written=9, replayed=4)

    @pytest.mark.parametrize(
        ("replicas", "reason"),
        [
            ([], "no replica is connected"),
            ([{}, {"visible": False}], "GRANT pg_read_all_stats"),
            ([{"replayed": None}], "does not say what it has replayed"),
        ],
    )
    def test_null_is_unknown(self, replicas: list[dict[str, object]], reason: str) -> None:
        with pytest.raises(sampling.Unknown, match=reason):
            sampling.slowest([self.replica(**given) for given in replicas])


BERLIN, LORD_HOWE = (zoneinfo.ZoneInfo(name) for name in ("Europe/Berlin", "Australia/Lord_Howe"))
ZONES = st.sampled_from([BERLIN, LORD_HOWE, zoneinfo.ZoneInfo("America/St_Johns"), dt.UTC])
CLOCKS = st.times().map(lambda time: time.replace(second=0, microsecond=0))
SPRING, AUTUMN = (dt.datetime(2026, month, day, tzinfo=dt.UTC) for month, day in ((3, 27), (10, 2)))
#: Around the days on which clocks are put forward and back, in several zones.
MOMENTS = st.one_of(
    st.integers(0, 11 * 24 * 3_600).map(lambda number: SPRING + dt.timedelta(seconds=number)),
    st.integers(0, 32 * 24 * 3_600).map(lambda number: AUTUMN + dt.timedelta(seconds=number)),
)


@st.composite
def hours(draw: st.DrawFn) -> QuietHours:
    begin = draw(CLOCKS)
    end = draw(CLOCKS.filter(lambda end: end != begin))
    return QuietHours(begin, end, draw(ZONES))


def within(quiet: QuietHours, now: dt.datetime) -> bool:
    clock = now.astimezone(quiet.zone).time()
    if quiet.begin < quiet.end:
        return quiet.begin <= clock < quiet.end
    return clock >= quiet.begin or clock < quiet.end


def at(text: str, zone: dt.tzinfo = BERLIN) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=zone)


class TestQuietHours:
    @given(hours(), MOMENTS)
    def test_it_is_quiet_whenever_the_clock_says_so(
        self, quiet: QuietHours, now: dt.datetime
    ) -> None:
        if within(quiet, now):
            assert quiet_until(quiet, now)

    @given(hours(), MOMENTS)
    def test_it_is_not_quiet_more_than_an_hour_longer(
        self, quiet: QuietHours, now: dt.datetime
    ) -> None:
        if quiet_until(quiet, now) and not within(quiet, now):
            around = [now + dt.timedelta(minutes=10 * step) for step in range(-12, 13)]
            offsets = {moment.astimezone(quiet.zone).utcoffset() for moment in around}
            assert len(offsets) > 1  # a clock is put forward or back

    @given(hours(), MOMENTS)
    def test_they_end(self, quiet: QuietHours, now: dt.datetime) -> None:
        until = quiet_until(quiet, now)
        if until is None:
            assert seconds_awake(quiet, now) > 0 or not within(quiet, now)
            return
        assert now < until < now + dt.timedelta(hours=49)
        assert seconds_awake(quiet, now) == 0
        assert quiet_until(quiet, until - dt.timedelta(microseconds=1))
        assert quiet_until(quiet, until) is None

    def test_across_midnight(self) -> None:
        quiet = QuietHours(dt.time(22), dt.time(6, 30), BERLIN)
        assert quiet_until(quiet, at("2026-01-10T21:59")) is None
        assert quiet_until(quiet, at("2026-01-10T22:00")) == at("2026-01-11T06:30")
        assert quiet_until(quiet, at("2026-01-11T06:29")) == at("2026-01-11T06:30")
        assert quiet_until(quiet, at("2026-01-11T06:30")) is None
        assert seconds_awake(quiet, at("2026-01-11T08:30")) == 7_200

    def test_a_night_in_which_the_clock_is_put_forward_is_shorter(self) -> None:
        quiet = QuietHours(dt.time(22), dt.time(6), BERLIN)
        begin = at("2026-03-28T22:00")
        until = quiet_until(quiet, begin.astimezone(dt.UTC))
        assert until is not None
        assert until - begin.astimezone(dt.UTC) == dt.timedelta(hours=7)

    def test_a_night_in_which_the_clock_is_put_back_is_longer(self) -> None:
        quiet = QuietHours(dt.time(22), dt.time(6), BERLIN)
        begin = at("2026-10-24T22:00")
        until = quiet_until(quiet, begin.astimezone(dt.UTC))
        assert until is not None
        assert until - begin.astimezone(dt.UTC) == dt.timedelta(hours=9)

    def test_an_end_that_the_clock_skips(self) -> None:
        quiet = QuietHours(dt.time(1), dt.time(2, 30), BERLIN)
        assert quiet_until(quiet, at("2026-03-29T01:30")) == at("2026-03-29T03:30")

    def test_without_any_it_is_never_quiet(self) -> None:
        assert quiet_until(None, at("2026-01-01T00:00")) is None
        assert seconds_awake(None, at("2026-01-01T00:00")) == float("inf")
