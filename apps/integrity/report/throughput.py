"""How many cascades were finished lately. The databases count: a day may have very many."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import Count, Min, Q

from . import bounds
from .progress import RATE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet

    from ..models import Cascade


#: What a picture of the throughput covers, and its bars.
DAY_SECONDS, BARS = 86_400, 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Cascades finished lately: `rate` per second, and bars of equal length up to now.

    The bars cover `seconds`: a day, or less where more were finished than are counted.
    """

    rate: float
    bars: tuple[int, ...]
    seconds: float


def throughput(logs: Sequence[QuerySet[Cascade]], now: dt.datetime) -> Throughput:
    """The speed of a child database: of each log's cascades into it, the latest up to the bound.

    A query for each log, over an index that tells when a cascade was done; two on a busy day.
    """
    begin = now - dt.timedelta(seconds=DAY_SECONDS)
    found = [_count(each, begin, now) for each in logs]
    if full := [each["first"] for each in found if each["number"] > bounds.COUNT_MAX]:
        begin = max(full)
        found = [_count(each, begin, now) for each in logs]
    seconds, window = _spans(begin, now)
    return Throughput(
        rate=sum(each["lately"] for each in found) / window,
        bars=tuple(sum(each[_bar(number)] for each in found) for number in range(BARS)),
        seconds=seconds,
    )


def _spans(begin: dt.datetime, now: dt.datetime) -> tuple[float, float]:
    """Seconds that the bars cover, and those that the rate is of."""
    seconds = max((now - begin).total_seconds(), 1.0)
    return seconds, min(RATE_SECONDS, seconds)


def _count(cascades: QuerySet[Cascade], begin: dt.datetime, now: dt.datetime) -> dict[str, Any]:
    """What was done after `begin`: how many, the first of them, those of the rate, of each bar."""
    seconds, window = _spans(begin, now)
    edges = [begin + dt.timedelta(seconds=seconds / BARS * number) for number in range(BARS)]
    asked = {"lately": Q(done_at__gte=now - dt.timedelta(seconds=window))} | {
        _bar(number): Q(done_at__gte=start) & (Q(done_at__lt=end) if end else Q())
        for number, (start, end) in enumerate(zip(edges, [*edges[1:], None], strict=True))
    }
    latest = cascades.filter(done_at__gt=begin).order_by("-done_at")[: bounds.COUNT_MAX + 1]
    return latest.aggregate(
        number=Count("pk"),
        first=Min("done_at"),
        **{name: Count("pk", filter=which) for name, which in asked.items()},
    )


def _bar(number: int) -> str:
    return f"bar{number}"
