"""B8: twice and four times the work takes twice and four times as long, without more memory."""

# ruff: noqa: RUF001 - signs as people write them

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tests.chaos.faults.watch import Watch

from ..lib import cascades, orphans, rows
from ..lib.orphans import Tables
from ..lib.result import Result, interleaved, ratios, spread
from ..lib.scans import HOMES, Scans
from ..lib.snapshots import Snapshot
from ..lib.workers import ONE_EACH, start_workers
from ..schemas.children.models import FewPost, HalfPost, Post
from ..schemas.parents.models import FewMember, HalfMember, Member
from . import many_users

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..lib.stage import Stage
    from ..lib.workers import Workers

TIMES = (1, 2, 4)
COMMENTS = 3
DATABASE = "blog_db"
PAIRS = dict(
    zip(TIMES, ((FewMember, FewPost), (HalfMember, HalfPost), (Member, Post)), strict=True)
)


def run(stage: Stage) -> Iterator[Result]:
    """Yield the results of B8: one large user, many small ones, and a scan."""
    stage.clear()
    posts, users, read = stage.scale.growth
    for times in TIMES:
        rows.content(_giant(times), posts=posts * times, comments=COMMENTS, orders=0)
    rows.analyze()
    snapshot = Snapshot.of(DATABASE)
    with start_workers(stage.folder(), ONE_EACH) as running:
        cascades.cascaded(rows.users(10), running, databases=[DATABASE])

        def one(times: int) -> float:
            snapshot.restore()
            cascades.forget()
            rows.users(_giant(times)[0])
            return cascades.cascaded(_giant(times), running, databases=[DATABASE])

        title = f"one user with {posts * (1 + COMMENTS):,} rows"
        yield from _grown(stage, "B8", title, one, running)
        snapshot.restore()
        snapshot.drop()
        cascades.forget()
        title = f"{users:,} users with a little content"
        yield from _grown(
            stage, "B8.many", title, lambda times: many_users.ours(users * times, running), running
        )
    yield from _scans(stage, read)


def _grown(
    stage: Stage, name: str, title: str, act: Callable[[int], float], running: Workers
) -> Iterator[Result]:
    memory: dict[int, list[float]] = {times: [] for times in TIMES}

    def measure(times: int) -> float:
        with Watch(running.members, "default", [DATABASE]) as watch:
            seconds = act(times)
        memory[times].append(watch.growth)
        return seconds

    took = interleaved(
        stage.scale.rounds,
        {str(times): partial(measure, times) for times in TIMES},
        stage.tell,
    )
    yield from _results(name, title, took, memory)


def _scans(stage: Stage, read: int) -> Iterator[Result]:
    scans = {}
    for times, (parent, child) in PAIRS.items():
        tables = Tables(parent=parent, child=child, parents=read * times, children=read * times)
        orphans.load(tables, *HOMES)
        scans[times] = Scans(stage, tables)
    took = interleaved(
        stage.scale.rounds, {str(times): scans[times] for times in TIMES}, stage.tell
    )
    memory = {times: scans[times].of("megabytes") for times in TIMES}
    yield from _results("B8.scan", f"a scan of {read:,} rows", took, memory)


def _results(
    name: str, title: str, took: dict[str, list[float]], memory: dict[int, list[float]]
) -> Iterator[Result]:
    most = TIMES[-1]
    growth = [ratio / most for ratio in ratios(took[str(most)], took["1"])]
    detail = {"seconds": {times: spread(values) for times, values in took.items()}}
    yield Result.of(name, f"{title}: time for each at {most} × as many", growth, 1.1, detail=detail)
    more = [one - other for one, other in zip(memory[most], memory[1], strict=True)]
    detail = {"megabytes": {str(times): spread(values) for times, values in memory.items()}}
    title = f"and how much more memory at {most} × as many"
    yield Result.of(f"{name}.memory", title, more, 3, unit="MB", detail=detail)


def _giant(times: int) -> range:
    return range(times, times + 1)
