"""How many deletions were finished lately, as the databases of the logs count them."""

from __future__ import annotations

import datetime as dt

import pytest
from django.db.models import Value

from apps.integrity.models import Cascade
from apps.integrity.report import backlog, limits
from apps.integrity.report.throughput import BARS, DAY_SECONDS, Throughput, throughput_of

pytestmark = pytest.mark.usefixtures("committed")

NOW = dt.datetime(2030, 1, 2, tzinfo=dt.UTC)
LOGS = ("default", "test_lite")


def done(*ages: float, using: str, size: int = 1, database: str = "blog_db") -> None:
    """Cascades of `size` deletions that were done so many seconds ago."""
    Cascade.objects.using(using).bulk_create(
        Cascade(
            batch=number + 1,
            database=database,
            deletions=list(range(1, size + 1)),
            size=size,
            dispatched_at=NOW,
            recorded_at=NOW,
            done_at=NOW - dt.timedelta(seconds=age),
            state=Cascade.State.DONE,
        )
        for number, age in enumerate(ages)
    )


def throughput(*logs: str) -> Throughput:
    return throughput_of(logs, ["blog_db"], Value(NOW))["blog_db"]


@pytest.mark.parametrize("log", LOGS)
def test_of_a_day(log: str) -> None:
    done(1, 200, 299, 301, 3_601, 86_399, 86_401, using=log)
    speed = throughput(log)
    assert speed.rate == 3 / backlog.RATE_SECONDS
    assert speed.seconds == DAY_SECONDS
    assert speed.bars == (1, *[0] * 21, 1, 4)


@pytest.mark.parametrize("log", LOGS)
def test_of_more_than_is_counted(monkeypatch: pytest.MonkeyPatch, log: str) -> None:
    """The latest ones alone tell the speed, over the time that they took."""
    monkeypatch.setattr(limits, "COUNT_MAX", 100)
    done(*(n / 10 for n in range(1, 102)), using=log)
    speed = throughput(log)
    assert speed.seconds == pytest.approx(10.1)
    assert speed.rate == pytest.approx(100 / 10.1)
    assert sum(speed.bars) == 100
    assert max(speed.bars) <= 5


def test_of_exactly_as_many_as_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COUNT_MAX", 3)
    done(1, 2, 7_000, using="default")
    assert throughput("default").seconds == DAY_SECONDS


def test_deletions_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is bounded is the number of cascades."""
    monkeypatch.setattr(limits, "COUNT_MAX", 3)
    done(1, 200, 7_000, using="default", size=1_000)
    speed = throughput("default")
    assert speed.seconds == DAY_SECONDS
    assert speed.rate == 2_000 / backlog.RATE_SECONDS
    assert sum(speed.bars) == 3_000


def test_of_two_logs_it_is_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the time that both of them are counted for."""
    monkeypatch.setattr(limits, "COUNT_MAX", 2)
    done(1, 10, 20, using="default")
    done(5, 15, using="test_lite")
    speed = throughput(*LOGS)
    assert speed.seconds == pytest.approx(20)
    assert sum(speed.bars) == 4


@pytest.mark.parametrize("log", LOGS)
def test_each_database_has_its_own(monkeypatch: pytest.MonkeyPatch, log: str) -> None:
    """Only those with more than is counted are shown for a shorter time."""
    monkeypatch.setattr(limits, "COUNT_MAX", 3)
    done(1, 2, 3, 4, 5, using=log, database="shop_db")
    done(1, 7_000, using=log)
    found = throughput_of([log], ["blog_db", "shop_db", "test_left"], Value(NOW))
    assert [each.seconds for each in found.values()] == [DAY_SECONDS, pytest.approx(4), DAY_SECONDS]
    assert [sum(each.bars) for each in found.values()] == [2, 3, 0]


def test_of_a_clock_that_is_ahead() -> None:
    """A database's clock may be ahead of this process."""
    done(-3, using="default")
    speed = throughput("default")
    assert (speed.bars[-1], sum(speed.bars)) == (1, 1)
    assert speed.rate == 1 / backlog.RATE_SECONDS


def test_of_nothing() -> None:
    assert throughput("default") == Throughput(rate=0.0, bars=(0,) * BARS, seconds=DAY_SECONDS)
    assert throughput() == throughput("default")
