"""B4.lag: the cascade of one large user where a standby replays slowly.

`max_replica_lag_seconds` is compared with the best of several fixed rates: the fastest one that
keeps the lag as well. That rate has to be found out for each server, and by the hour. The cascade
runs in this process.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connections, transaction
from django.test import override_settings

from apps.integrity import cascade
from apps.integrity.queues import dispatch

from ..lib import cascades, rows
from ..lib.result import Result, interleaved, spread
from ..lib.standby import LagWatch, slow_standby

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lib.stage import Stage
    from ..lib.standby import SlowStandby

DATABASE = "blog_db"
COMMENTS = 3
LIMIT_SECONDS, P99_SECONDS = 2.0, 3.0
#: Replay is slowed down until it takes this many times as long as the cascade, and so many seconds.
TIMES, SECONDS = 3.0, 12.0
#: Shares of the time for which the standby replays, tried from the first one.
SHARES = (0.2, 0.05, 0.01, 0.0)
#: Fixed rates, as multiples of the rate at which the standby replays.
RATES = (0.7, 0.85, 1.0, 1.15, 1.3)
ROUNDS = 3


def run(stage: Stage) -> Iterator[Result]:
    """Yield the results of B4.lag."""
    if DATABASE not in stage.sandbox.postgres:
        return
    stage.clear()
    with slow_standby(stage.sandbox.postgres[DATABASE]) as replica:
        yield from Lagging(stage, replica).results()


class Lagging:
    """Cascades beside a slow standby. Each returns its seconds, and keeps the p99 of the lag."""

    def __init__(self, stage: Stage, replica: SlowStandby) -> None:
        self.stage, self.replica = stage, replica
        self.number = stage.scale.replicated * (1 + COMMENTS)
        self.p99: list[float] = []
        self.share = 1.0

    def results(self) -> Iterator[Result]:
        """Find the best fixed rate, and measure both beside each other."""
        replayed = self._slow_down()
        fixed = {rate: self._cascade({"max_rows_per_second": replayed * rate}) for rate in RATES}
        kept = {rate: took for rate, (took, p99) in fixed.items() if p99 <= P99_SECONDS}
        best = min(kept, key=lambda rate: kept[rate], default=RATES[0])
        took = interleaved(
            1 if self.stage.scale.quick else ROUNDS,
            {
                "limited lag": self._limited,
                "fixed rate": lambda: self._cascade({"max_rows_per_second": replayed * best})[0],
            },
            self.stage.tell,
        )
        detail = {
            "rows": self.number,
            "rows_replayed_per_second": round(replayed),
            "fixed_rates": {
                f"{rate:g}": {"seconds": round(seconds, 2), "p99": round(p99, 2)}
                for rate, (seconds, p99) in fixed.items()
            },
            "seconds": {way: spread(values) for way, values in took.items()},
        }
        title = f"p99 of a slow standby's lag, {self.number:,} rows, max_replica_lag_seconds = 2"
        yield Result.of("B4.lag", title, self.p99, P99_SECONDS, unit="s", detail=detail)
        title = "its time beside the best fixed rate"
        ratio = [
            ours / theirs
            for ours, theirs in zip(took["limited lag"], took["fixed rate"], strict=True)
        ]
        yield Result.of("B4.lag.time", title, ratio, 1.3)

    def _slow_down(self) -> float:
        """Let the standby replay slowly; return the rows that it replays in a second."""
        replayed = 0.0
        for share in SHARES:
            self.share = share
            began = time.monotonic()
            took, p99 = self._cascade({})
            seconds = time.monotonic() - began - self._loaded
            replayed = self.number / seconds
            self.stage.tell(
                f"replay for {share:.0%} of the time: {took:.1f} s, replayed {seconds:.1f} s, lag"
                f" {p99:.1f} s"
            )
            if seconds >= max(TIMES * took, SECONDS):
                break
        return replayed

    def _limited(self) -> float:
        took, p99 = self._cascade({"max_replica_lag_seconds": LIMIT_SECONDS})
        self.p99.append(p99)
        return took

    def _cascade(self, limits: dict[str, Any]) -> tuple[float, float]:
        """Load the user's rows and cascade them; return the seconds, and the p99 of the lag."""
        began = time.monotonic()
        self.replica.share = 1.0
        cascades.forget()
        (key,) = rows.users(1)
        with connections[DATABASE].cursor() as cursor:
            cursor.execute(rows.POSTS, [rows.TEXT, self.stage.scale.replicated, key, key])
            cursor.execute(rows.COMMENTS, [rows.TEXT, COMMENTS, key, key])
        rows.analyze()
        self.replica.catch_up()
        self.replica.share, self._loaded = self.share, time.monotonic() - began
        pressure = {**settings.INTEGRITY, "wakeups": False, "pressure": {DATABASE: limits}}
        with override_settings(INTEGRITY=pressure), LagWatch(self.replica) as watch:
            with transaction.atomic():
                User.objects.filter(pk=key).delete()
            started = time.monotonic()
            dispatch.sweep("default")
            while cascade.drain(DATABASE, seconds=cascades.LIMIT_SECONDS).more:
                pass
            took = time.monotonic() - started
            cascade.drain("shop_db")
            self.replica.catch_up()
        if left := rows.left(range(key, key + 1)):
            raise AssertionError(f"{left} rows are left")
        return took, watch.p99
