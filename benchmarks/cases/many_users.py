"""B5: the cascade of many users with a little content each, from the commit to the end.

It is compared with a common approach (`schemas.today`): one task for each user and database, whose
messages are queued before the measurement starts. Both have one worker process per database. The
limit is one DELETE per table, in both databases at the same time.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from django.db import connections

from sandbox.processes import ProcessError, eventually

from ..lib import cascades, rows
from ..lib.result import Result, interleaved, ratios, spread
from ..lib.workers import ONE_EACH, start_workers
from ..schemas.today.tasks import TASKS, queue_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lib.stage import Stage
    from ..lib.workers import Workers

POSTS, COMMENTS, ORDERS = 5, 2, 2
#: The task per user runs with a tenth of the users, because its time per user is constant.
SHARE = 10
FIRST = {"ours": 100_001, "limit": 200_001, "today": 300_001}
#: Variant → its name in the results.
NAMES = {"ours": "ours", "limit": "giant DELETEs", "today": "a task for each user and database"}


def run(stage: Stage) -> Iterator[Result]:
    """Yield the results of B5."""
    stage.clear()
    number = stage.scale.users
    workers = {
        name: (",".join(filter(None, (queues, _today(name)))), processes)
        for name, (queues, processes) in ONE_EACH.items()
    }
    with start_workers(stage.folder(), workers) as running:
        for name in TASKS:
            running.cancel_consumer(name, queue_of(name))
        measures = {
            NAMES["ours"]: lambda: number / ours(number, running),
            NAMES["limit"]: lambda: number / _limit(number),
            NAMES["today"]: lambda: number // SHARE / _one_by_one(number // SHARE, running),
        }
        ours(number // SHARE, running)  # lets the workers import their modules and connect
        took = interleaved(stage.scale.rounds, measures, stage.tell)
    yield from _results(number, took)


def _results(number: int, took: dict[str, list[float]]) -> Iterator[Result]:
    mine, limit, today = (took[NAMES[way]] for way in ("ours", "limit", "today"))
    detail = {"users_per_second": {way: spread(values) for way, values in took.items()}}
    content = f"{POSTS} posts, {POSTS * COMMENTS} comments, {ORDERS} orders"
    title = f"{number:,} users ({content} each) beside a task for each user and database, users/s"
    yield Result.of("B5", title, ratios(mine, today), 75, at_least=True, detail=detail)
    title = "the same beside giant DELETEs in both databases at once"
    yield Result.of("B5.limit", title, ratios(mine, limit), 0.5, at_least=True)


def ours(number: int, running: Workers) -> float:
    """Return the seconds from the commit until the last cascade is done."""
    keys = rows.users(FIRST["ours"], number)
    _fill(keys)
    seconds = cascades.cascaded(keys, running)
    cascades.forget()
    return seconds


def _limit(number: int) -> float:
    keys = range(FIRST["limit"], FIRST["limit"] + number)
    _fill(keys)

    def remove(alias: str) -> float:
        try:
            return cascades.giant(keys, alias)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(cascades.CONTENT)) as pool:
        return max(pool.map(remove, cascades.CONTENT))


def _one_by_one(number: int, running: Workers) -> float:
    keys = range(FIRST["today"], FIRST["today"] + number)
    _fill(keys)
    for key in keys:
        for database, task in TASKS.items():
            task.apply_async(args=(key,), queue=queue_of(database))
    started = time.perf_counter()
    for database in TASKS:
        running.add_consumer(database, queue_of(database))
    # Each queue has one process, which deletes the last user's rows last.
    last = keys[-1:]
    over = eventually(lambda: not rows.left(last), timeout=cascades.LIMIT_SECONDS)
    seconds = time.perf_counter() - started
    for database in TASKS:
        running.cancel_consumer(database, queue_of(database))
    if not over or rows.left(keys):
        raise ProcessError("the tasks left rows")
    return seconds


def _fill(keys: range) -> None:
    rows.content(keys, posts=POSTS, comments=COMMENTS, orders=ORDERS)
    rows.analyze()


def _today(name: str) -> str:
    return queue_of(name) if name in TASKS else ""
