"""10,000 deletions with mixed deadlines at 95 % load, on the log's own statements.

One worker does a fixed number of deletions in a tick, which stands for an hour. No clock is waited
for: after each tick, all that is open is moved an hour into the past, so the server's clock decides
as ever. Half of the deletions come in bulk, with a month; the others one by one, most of them with
a day or three. Only the order of claims differs between two runs.
"""

from __future__ import annotations

import datetime as dt
import heapq
import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING
from unittest import mock

from django.contrib.auth.models import User
from django.db.models import F

from apps.integrity import capture
from apps.integrity.backends import deadlines
from apps.integrity.log import claims, outcomes
from apps.integrity.models import Cascade, Deletion
from apps.integrity.queues import dispatch

if TYPE_CHECKING:
    from collections.abc import Sequence

DATABASE = "shop_db"
HOUR = dt.timedelta(hours=1)
#: Deletions of a tick, and the share of them that arrive.
CAPACITY, LOAD = 20, 0.95
#: Ticks between two deletions in bulk, which are half of all, and their deadline in ticks.
BULK_TICKS, MONTH = 200, 720
#: Deadlines in ticks of what comes one by one: a day, three, a week.
SHORT = (24, 24, 72, 168)


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a run: late deletions, and the backlog and those late so far by tick."""

    late: int
    backlog: Sequence[int]
    late_so_far: Sequence[int]


def arrivals(number: int, seed: int) -> list[list[int]]:
    """Return the deadlines, in ticks from then, of what arrives in each tick. Pure."""
    chance, made, ticks = random.Random(seed), 0, list[list[int]]()  # noqa: S311 (no secret)
    single = CAPACITY * LOAD / 2
    while made < number:
        some = chance.randint(0, round(2 * single))
        new = [chance.choice(SHORT) for _ in range(some)]
        if len(ticks) % BULK_TICKS == 0:
            new += [MONTH] * round(single * BULK_TICKS)
        ticks.append(new[: number - made])
        made += len(ticks[-1])
    return ticks


def least_late(ticks: Sequence[Sequence[int]]) -> int:
    """Return how many are late if the nearest deadline is always done first. Pure.

    Where none is, all can be met; no order does better.
    """
    queue, late, tick = list[int](), 0, 0
    while queue or tick < len(ticks):
        for days in ticks[tick] if tick < len(ticks) else ():
            heapq.heappush(queue, tick + days)
        tick += 1
        for _ in range(min(CAPACITY, len(queue))):
            late += heapq.heappop(queue) < tick
    return late


def play(ticks: Sequence[Sequence[int]], *, nearest: bool) -> Played:
    """Record, dispatch and claim what arrives; the nearest first, or the oldest first."""
    due, late, tick, first = dict[str, int](), 0, 0, 1
    backlog, late_so_far = list[int](), list[int]()
    order = {} if nearest else {"return_value": False}
    with mock.patch.object(deadlines, "in_order", wraps=deadlines.in_order, **order):
        while due or tick < len(ticks):
            for length, number in Counter(ticks[tick] if tick < len(ticks) else ()).items():
                keys = range(first, first + number)
                first += number
                with capture.because(deadline=length * HOUR):
                    capture.record((User, keys), using="default")
                due |= {str(key): tick + length for key in keys}
            dispatch.sweep("default")
            Cascade.objects.filter(state="pending").exclude(database=DATABASE).delete()
            tick += 1
            for key in _worked():
                late += due.pop(key) < tick
            backlog.append(len(due))
            late_so_far.append(late)
            _move_on()
    return Played(late, backlog, late_so_far)


def _worked() -> list[str]:
    """Do what one worker does in a tick; return the keys."""
    keys = list[str]()
    while (room := CAPACITY - len(keys)) > 0:
        claim = claims.claim(DATABASE, using="default", limit=room, lease_seconds=600)
        if claim is None:
            break
        outcomes.finish(claim, {pk: {} for pk in claim.ids}, barrier=None)
        keys += [str(one.key) for one in claim.deletions]
    return keys


def _move_on() -> None:
    """Move all that is open an hour into the past."""
    moments = ("deadline", "order_at", "due_at", "recorded_at")
    cascades = Cascade.objects.filter(state__in=Cascade.CLAIMABLE)
    cascades.update(**{name: F(name) - HOUR for name in moments})
    batches = cascades.values("batch")
    Deletion.objects.filter(batch__in=batches).update(deadline=F("deadline") - HOUR)
