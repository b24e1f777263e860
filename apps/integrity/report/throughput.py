"""How many deletions were finished lately. The databases add them up by their cascades."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db.models import Count, DurationField, ExpressionWrapper, Min, Q

from ..backends import clocks
from ..backends.first_rows import first_rows
from ..models import Cascade
from ..models.moments import ServerNow
from . import limits
from .totals import total
from .work import RATE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.db.models import Expression


#: What a picture of the throughput covers, and its bars.
DAY_SECONDS, BARS = 86_400, 24
#: By the clock of each log's server.
NOW = ServerNow()


#: Numbers by name.
Counts = dict[str, float]


@dataclass(frozen=True, slots=True)
class Throughput:
    """Deletions finished lately: `rate` per second, and bars of equal length up to now.

    The bars cover `seconds`: a day, or less where more cascades were finished than are counted.
    They end at `until`, by the clock of this process.
    """

    rate: float
    bars: tuple[int, ...]
    seconds: float
    until: dt.datetime = field(
        default_factory=lambda: dt.datetime.fromtimestamp(clocks.own(), dt.UTC), compare=False
    )


def throughput_of(
    logs: Sequence[str], databases: Sequence[str], now: Expression = NOW
) -> dict[str, Throughput]:
    """Return the throughput of each of those child databases, from the cascades of all logs.

    It costs one query for each log, over an index on `done_at`. If databases have finished more
    than `limits.COUNT_MAX` in a day, each log is queried again for these, for the time that the
    latest of those took in the fastest of them.
    """
    throughputs = {alias: Throughput(0.0, (0,) * BARS, float(DAY_SECONDS)) for alias in databases}
    counts = [_counts(using, databases, now, float(DAY_SECONDS)) for using in logs]
    full = {
        alias: count["seconds"]
        for log in counts
        for alias, count in log.items()
        if count["cascades"] > limits.COUNT_MAX
    }
    throughputs |= _added_up(counts, float(DAY_SECONDS))
    if full:
        seconds = max(min(full.values()), 1.0)
        counts = [_counts(using, [*full], now, seconds) for using in logs]
        throughputs |= _added_up(counts, seconds)
    return throughputs


def _added_up(logs: Sequence[Mapping[str, Counts]], seconds: float) -> dict[str, Throughput]:
    """Return the throughput of each database in those counts of several logs. Pure."""
    sums = dict[str, Counter[str]]()
    for log in logs:
        for alias, count in log.items():
            sums.setdefault(alias, Counter()).update(count)
    return {
        alias: Throughput(
            rate=count["lately"] / min(RATE_SECONDS, seconds),
            bars=tuple(int(count[_bar(number)]) for number in range(BARS)),
            seconds=seconds,
        )
        for alias, count in sums.items()
    }


def _counts(
    using: str, databases: Sequence[str], now: Expression, seconds: float
) -> dict[str, Counts]:
    """Return database → the numbers of the last `seconds` in one log.

    They are those of cascades, and of deletions of the rate and of each bar. `seconds` is the age
    of the oldest one that is counted.
    """
    window = min(RATE_SECONDS, seconds)
    ages = [seconds * (1 - number / BARS) for number in range(BARS)]
    edges = [now - dt.timedelta(seconds=age) for age in ages]
    asked = {"lately": Q(done_at__gte=now - dt.timedelta(seconds=window))} | {
        _bar(number): Q(done_at__gte=start) & (Q(done_at__lt=end) if end else Q())
        for number, (start, end) in enumerate(zip(edges, [*edges[1:], None], strict=True))
    }
    rows = Cascade.objects.using(using).filter(done_at__gt=now - dt.timedelta(seconds=seconds))
    latest = first_rows(
        rows.order_by("-done_at"), databases, limits.COUNT_MAX + 1, "done_at", "size"
    )
    figures = (
        latest.order_by()
        .values("database")
        .annotate(
            cascades=Count("done_at"),
            length=ExpressionWrapper(now - Min("done_at"), DurationField()),
            **{name: total("size", filter=which) for name, which in asked.items()},
        )
    )
    counts = dict[str, Counts]()
    for row in figures:
        numbers: dict[str, Any] = dict(row)
        length = clocks.seconds(numbers.pop("length")) or 0.0
        counts[numbers.pop("database")] = {**numbers, "seconds": length}
    return counts


def _bar(number: int) -> str:
    return f"bar{number}"
