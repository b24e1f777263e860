"""How many deletions were finished lately. The databases add them up by their cascades."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import Count, DurationField, ExpressionWrapper, Min, Q
from django.db.models.functions import Now

from ..backends import clocks
from . import limits
from .backlog import RATE_SECONDS
from .totals import total

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import Expression, QuerySet

    from ..models import Cascade


#: What a picture of the throughput covers, and its bars.
DAY_SECONDS, BARS = 86_400, 24
#: By the clock of each log's server.
NOW = Now()


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Deletions finished lately: `rate` per second, and bars of equal length up to now.

    The bars cover `seconds`: a day, or less where more cascades were finished than are counted.
    """

    rate: float
    bars: tuple[int, ...]
    seconds: float


def throughput_of(logs: Sequence[QuerySet[Cascade]], now: Expression = NOW) -> Throughput:
    """Return the throughput of a child database, from each log's cascades into it.

    It costs one query for each log, over an index on `done_at`. If one has finished more than
    `limits.COUNT_MAX` in a day, each log is queried again, for the time that the latest of those
    took.
    """
    seconds = float(DAY_SECONDS)
    counts = [_count(cascades, now, seconds) for cascades in logs]
    if full := [count["seconds"] for count in counts if count["cascades"] > limits.COUNT_MAX]:
        seconds = max(min(full), 1.0)
        counts = [_count(cascades, now, seconds) for cascades in logs]
    return Throughput(
        rate=sum(count["lately"] for count in counts) / min(RATE_SECONDS, seconds),
        bars=tuple(sum(count[_bar(number)] for count in counts) for number in range(BARS)),
        seconds=seconds,
    )


def _count(cascades: QuerySet[Cascade], now: Expression, seconds: float) -> dict[str, Any]:
    """Return the numbers of the last `seconds`: cascades; deletions of the rate and each bar."""
    window = min(RATE_SECONDS, seconds)
    ages = [seconds * (1 - number / BARS) for number in range(BARS)]
    edges = [now - dt.timedelta(seconds=age) for age in ages]
    asked = {"lately": Q(done_at__gte=now - dt.timedelta(seconds=window))} | {
        _bar(number): Q(done_at__gte=start) & (Q(done_at__lt=end) if end else Q())
        for number, (start, end) in enumerate(zip(edges, [*edges[1:], None], strict=True))
    }
    latest = cascades.filter(done_at__gt=now - dt.timedelta(seconds=seconds)).order_by("-done_at")[
        : limits.COUNT_MAX + 1
    ]
    figures = latest.aggregate(
        cascades=Count("pk"),
        length=ExpressionWrapper(now - Min("done_at"), DurationField()),
        **{name: total("size", filter=which) for name, which in asked.items()},
    )
    return {**figures, "seconds": clocks.seconds(figures["length"]) or 0.0}


def _bar(number: int) -> str:
    return f"bar{number}"
