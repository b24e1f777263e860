"""B4: the cascade of one user with very many posts and three comments on each.

It is compared with one giant DELETE in SQL, which is the upper limit but blocks other work. It is
also compared with Django's `queryset.delete()`, on a tenth of the rows because that loads them.
Beside it, somebody else reads rows: at full speed, and with a worker that works gently.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.db import connections

from apps.integrity.routing import queue_for
from tests.chaos.faults.watch import Watch

from ..lib import cascades, rows
from ..lib.reads import Reads
from ..lib.result import Result, interleaved, percentile, ratios, spread
from ..lib.snapshots import Snapshot
from ..lib.workers import ONE_EACH, Workers, start_workers
from . import replica_lag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lib.clients import Client
    from ..lib.stage import Stage

DATABASE = "blog_db"
QUEUE = queue_for(DATABASE)
COMMENTS = 3
GIANT, OTHER_USER, TENTH, WARM = (range(key, key + 1) for key in (1, 2, 3, 4))
ALONE_SECONDS = 5.0
#: The environments of the gentle worker, and of one that deletes over a single connection.
GENTLY = {"DJANGO_SETTINGS_MODULE": "benchmarks.schemas.pressed"}
SINGLE = {"DJANGO_SETTINGS_MODULE": "benchmarks.schemas.single"}

#: The three users' rows are interleaved on disk, as if the users wrote at the same time.
POSTS = """
INSERT INTO blog_post (author_id, title, content, created_at)
SELECT author, 'Post ' || number, %s, now()
FROM generate_series(1, %s) AS number, generate_series(1, 3) AS author
WHERE author = 1 OR number %% 10 = 0
"""


def run(stage: Stage) -> Iterator[Result]:
    """Yield the results of B4."""
    stage.clear()
    giant = Giant(stage)
    with (
        stage.client("benchmarks.schemas.unkept") as today,
        start_workers(stage.folder(), ONE_EACH) as running,
        start_workers(stage.folder(), {"gentle": (QUEUE, 1)}, GENTLY, beat=False) as gentle,
        start_workers(stage.folder(), {"single": (QUEUE, 1)}, SINGLE, beat=False) as single,
    ):
        giant.workers, giant.today = running, today
        giant.others = {"gentle": gentle, "single": single}
        for name, other in giant.others.items():
            other.cancel_consumer(name, QUEUE)
        giant.warm_up()
        took = interleaved(
            stage.scale.rounds,
            {
                "one worker": giant.one,
                "one worker, watched": giant.watched,
                "one gentle worker": giant.gently,
                "one connection": giant.single,
                "one connection, with reads": giant.read,
                "giant DELETE": giant.limit,
                "queryset.delete()": giant.django,
            },
            stage.tell,
        )
    giant.snapshot.restore()
    giant.snapshot.drop()
    yield from _results(giant, took)
    yield from replica_lag.run(stage)


class Giant:
    """The variants to delete the large user's rows. Each returns rows per second."""

    workers: Workers
    others: dict[str, Workers]
    today: Client

    def __init__(self, stage: Stage) -> None:
        self.stage, self.posts = stage, stage.scale.posts
        #: Milliseconds of reads, by what goes on beside them.
        self.reads: dict[str, list[float]] = {
            "nothing": [],
            "full speed": [],
            "one connection": [],
            "gently": [],
        }
        self.longest: list[float] = []
        self.growth: list[float] = []
        self.query = ""
        _load(stage, self.posts)
        self.snapshot = Snapshot.of(DATABASE)
        self.other_posts = _posts_of(OTHER_USER)

    def warm_up(self) -> None:
        """Let every worker import its modules and connect."""
        for _ in range(4):
            cascades.cascaded(rows.users(WARM[0]), self.workers, databases=[DATABASE])

    def one(self) -> float:
        """Cascade with one worker for this database."""
        self._restore()
        return self._cascade()

    def watched(self) -> float:
        """Cascade with one worker, concurrent reads and a watch on its transactions."""
        self._restore()
        with self._reads("nothing"):
            time.sleep(ALONE_SECONDS)
        watched = Watch(self.workers.members, DATABASE, [DATABASE])
        with watched as watch, self._reads("full speed"):
            rate = self._cascade()
        self.longest.append(watch.longest_seconds * 1_000)
        self.growth.append(watch.growth)
        self.query = watch.longest_query[:300]
        return rate

    def gently(self) -> float:
        """Cascade with one worker that works gently, and concurrent reads."""
        self._restore()
        with self._instead("gentle"), self._reads("gently"):
            return self._cascade()

    def single(self) -> float:
        """Cascade with a worker that deletes over a single connection."""
        self._restore()
        with self._instead("single"):
            return self._cascade()

    def read(self) -> float:
        """Do the same with concurrent reads: what working gently is compared with."""
        self._restore()
        with self._instead("single"), self._reads("one connection"):
            return self._cascade()

    @contextmanager
    def _instead(self, name: str) -> Iterator[None]:
        """Let another worker consume from the database's queue during the block."""
        self.workers.cancel_consumer("blog_db", QUEUE)
        self.others[name].add_consumer(name, QUEUE)
        try:
            yield
        finally:
            self.others[name].cancel_consumer(name, QUEUE)
            self.workers.add_consumer("blog_db", QUEUE)

    def limit(self) -> float:
        """Delete all rows in one transaction with two statements."""
        self._restore()
        return self._number / cascades.giant(GIANT, DATABASE)

    def django(self) -> float:
        """Delete a tenth of the rows with Django's `queryset.delete()`."""
        self._restore()
        seconds: float = self.today.ask("lib.deletes.remove_posts", TENTH[0])
        return self._number / 10 / seconds

    @property
    def _number(self) -> int:
        return self.posts * (1 + COMMENTS)

    def _restore(self) -> None:
        self.snapshot.restore()
        cascades.forget()

    def _cascade(self) -> float:
        rows.users(GIANT[0])
        return self._number / cascades.cascaded(GIANT, self.workers, databases=[DATABASE])

    @contextmanager
    def _reads(self, beside: str) -> Iterator[None]:
        """Let somebody else read rows during the block."""
        with Reads(DATABASE, "blog_post", self.other_posts) as reads:
            yield
        self.reads[beside] += reads.milliseconds


def _results(giant: Giant, took: dict[str, list[float]]) -> Iterator[Result]:
    number = giant.posts * (1 + COMMENTS)
    limit = took["giant DELETE"]
    detail = {
        "rows": number,
        "rows_per_second": {way: spread(values) for way, values in took.items()},
    }
    more = {"at_least": True}
    title = f"cascade of one user with {number:,} rows beside one giant DELETE, rows/s"
    yield Result.of("B4.two", title, ratios(took["one worker"], limit), 1.15, **more)
    title = "the same over a single connection"
    single = ratios(took["one connection"], limit)
    yield Result.of("B4", title, single, 0.8, detail=detail, **more)
    title = "with one worker beside Django's queryset.delete(), rows/s"
    orm = ratios(took["one worker"], took["queryset.delete()"])
    yield Result.of("B4.orm", title, orm, 3.0, **more)
    title, detail = "longest transaction", {"query": giant.query}
    yield Result.of("B4.transaction", title, giant.longest, 250, unit="ms", detail=detail)
    yield from _reads(giant, took)
    title = "memory that the worker gained"
    yield Result.of("B4.memory", title, giant.growth, 15, unit="MB")


def _reads(giant: Giant, took: dict[str, list[float]]) -> Iterator[Result]:
    """Yield what a cascade does to somebody else's reads: those of all rounds together."""
    p95 = {beside: percentile(reads) for beside, reads in giant.reads.items()}
    detail = {
        "p95_ms": {beside: round(figure, 3) for beside, figure in p95.items()},
        "reads": {beside: len(reads) for beside, reads in giant.reads.items()},
    }
    title = "p95 of somebody else's point reads beside a worker that works gently"
    yield Result.of("B4.reads", title, [p95["gently"] / p95["nothing"]], 1.4, detail=detail)
    title = "time of that worker beside full speed over a single connection"
    slower = ratios(took["one connection, with reads"], took["one gentle worker"])
    yield Result.of("B4.reads.time", title, slower, 1.4)
    title = "p95 of the reads beside a worker at full speed"
    yield Result.of("B4.reads.full", title, [p95["full speed"] / p95["nothing"]], None)
    title = "p95 of the reads beside full speed over a single connection"
    yield Result.of("B4.reads.single", title, [p95["one connection"] / p95["nothing"]], None)


def _load(stage: Stage, posts: int) -> None:
    started = time.monotonic()
    with connections[DATABASE].cursor() as cursor:
        cursor.execute(POSTS, [rows.TEXT, posts])
        cursor.execute(rows.COMMENTS, [rows.TEXT, COMMENTS, GIANT[0], TENTH[0]])
    rows.analyze()
    took = time.monotonic() - started
    stage.tell(f"loaded {posts:,} posts with {COMMENTS} comments each: {took:.0f} s")


def _posts_of(keys: range) -> list[int]:
    with connections[DATABASE].cursor() as cursor:
        cursor.execute("SELECT id FROM blog_post WHERE author_id = %s LIMIT 1000", [keys[0]])
        return [key for (key,) in cursor.fetchall()]
