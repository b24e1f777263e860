"""How long deletions took lately, from their record until they were done."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import TYPE_CHECKING

from ..backends.first_rows import first_rows
from ..control import circuit_breaker
from ..models import Cascade
from ..models.moments import ServerNow
from . import limits
from .work import RATE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence


def delays(databases: Sequence[str]) -> dict[str, list[tuple[float, int]]]:
    """Return database → the seconds from record to done, and how many deletions took so long.

    They are sorted. It looks at the last `RATE_SECONDS`, and at most at the latest
    `limits.COUNT_MAX` cascades of each log and database. The deletions of a cascade count from the
    record of the first of them.
    """
    since = ServerNow() - dt.timedelta(seconds=RATE_SECONDS)
    found = dict[str, list[tuple[float, int]]]()
    for using in circuit_breaker.answering_logs() if databases else ():
        rows = Cascade.objects.using(using).filter(done_at__gte=since).order_by("-done_at")
        columns = ("recorded_at", "done_at", "size")
        latest = first_rows(rows, databases, limits.COUNT_MAX, *columns)
        for alias, recorded, done, size in latest.values_list("database", *columns):
            if done is not None:
                found.setdefault(alias, []).append(((done - recorded).total_seconds(), size))
    return {alias: sorted(seconds) for alias, seconds in found.items()}


def quantile(share: float, delays: Sequence[tuple[float, int]]) -> float:
    """Return the delay that this share of the deletions does not exceed. Pure."""
    sums = itertools.accumulate(number for _, number in delays)
    place = share * sum(number for _, number in delays)
    pairs = zip(delays, sums, strict=True)
    return next((seconds for (seconds, _), total in pairs if total > place), delays[-1][0])
