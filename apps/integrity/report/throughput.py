"""How many cascades were finished lately. The databases count: a day may have very many."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import Count, DurationField, ExpressionWrapper, Min, Q
from django.db.models.functions import Now

from ..backends import clocks
from . import limits
from .backlog import RATE_SECONDS

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
    """Cascades finished lately: `rate` per second, and bars of equal length up to now.

    The bars cover `seconds`: a day, or less where more were finished than are counted.
    """

    rate: float
    bars: tuple[int, ...]
    seconds: float


def throughput_of(logs: Sequence[QuerySet[Cascade]], now: Expression = NOW) -> Throughput:
    """The speed of a child database: of each log's cascades into it, the latest up to the bound.

    A query for each log, over an index that tells when a cascade was done; two on a busy day.
    """
    seconds = float(DAY_SECONDS)
    found = [_count(each, now, seconds) for each in logs]
    if full := [each["seconds"] for each in found if each["number"] > limits.COUNT_MAX]:
        seconds = max(min(full), 1.0)
        found = [_count(each, now, seconds) for each in logs]
    return Throughput(
        rate=sum(each["lately"] for each in found) / min(RATE_SECONDS, seconds),
        bars=tuple(sum(each[_bar(number)] for each in found) for number in range(BARS)),
        seconds=seconds,
    )


def _count(cascades: QuerySet[Cascade], now: Expression, seconds: float) -> dict[str, Any]:
    """What was done for so long: how many, since when, those of the rate, of each bar."""
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
    found = latest.aggregate(
        number=Count("pk"),
        length=ExpressionWrapper(now - Min("done_at"), DurationField()),
        **{name: Count("pk", filter=which) for name, which in asked.items()},
    )
    return {**found, "seconds": clocks.seconds(found["length"]) or 0.0}


def _bar(number: int) -> str:
    return f"bar{number}"
