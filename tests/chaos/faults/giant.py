"""One user with very many posts, and small users deleted after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connections

from apps.blog.models import Post
from apps.integrity import conf
from tests.chaos import log
from tests.chaos.processes import WORKERS
from tests.chaos.truth import CHILD_DATABASES

from . import people
from .bounds import Bound, Figure, percentile
from .watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .stage import Stage

DATABASE = "blog_db"
FACTOR = 1.5
GROWTH_MB = 50
TRANSACTION_SECONDS = 1.0
#: Hours would be no result.
WATCHED_SECONDS = 1_800.0

#: Each statement that deletes tells how many rows it deleted.
COUNT_ROWS = """
CREATE TABLE IF NOT EXISTS faults_statement (number bigint);
TRUNCATE faults_statement;
GRANT INSERT ON faults_statement TO PUBLIC;
CREATE OR REPLACE FUNCTION faults_count() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO faults_statement SELECT count(*) FROM gone; RETURN NULL; END';
CREATE OR REPLACE TRIGGER faults_count AFTER DELETE ON {table}
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION faults_count();
"""


def run(stage: Stage) -> Iterator[Bound | Figure]:
    """The same load twice: alone, and behind the giant."""
    scale = stage.scale
    with stage.crew() as crew:
        _count_rows()
        before, during = people.born(scale.small), people.born(scale.small)
        stage.say(f"a user with {scale.posts} posts is made")
        giant = people.born_giant(scale.posts)
        stage.say(f"{scale.small} small users without the giant")
        people.delete_steadily(before, scale.small_per_second)
        _end(stage)
        workers = [name for name, queue in WORKERS.items() if queue.endswith(DATABASE)]
        with Watch(crew.members, DATABASE, workers) as watch:
            stage.say(f"the giant, and {scale.small} small users after it")
            people.delete([giant])
            people.delete_steadily(during, scale.small_per_second)
            _end(stage)
        stage.say(f"in the longest transaction: {watch.longest_query[:120]}")
        yield from _latency(before, during, giant)
    yield Bound("memory that a worker gained", watch.growth, GROWTH_MB, "MB")
    yield Bound("longest transaction", watch.longest_seconds, TRANSACTION_SECONDS, "s")
    most = conf.current().statement_rows_max
    yield Bound("rows of the largest statement", _largest_statement(), most, "rows")
    yield Bound("rows of the giant that are left", _left(giant), 0)


def _end(stage: Stage) -> None:
    if stage.until_done(WATCHED_SECONDS) >= WATCHED_SECONDS:
        raise TimeoutError("the cascades do not end")


def _latency(before: list[int], during: list[int], giant: int) -> Iterator[Bound | Figure]:
    """Of the small ones that were deleted while the giant was at work; the others prove nothing."""
    (seconds,) = people.delays([giant], DATABASE)
    behind = _deleted_before_the_end(during, giant)
    usual = percentile(people.delays(before, *CHILD_DATABASES))
    p95 = percentile(people.delays(behind, *CHILD_DATABASES))
    yield Figure("the giant's cascade", seconds, "s")
    yield Figure("small ones deleted meanwhile", len(behind))
    yield Figure("p95 of the small ones without the giant", usual, "s")
    yield Bound("p95 of the small ones behind the giant", p95, FACTOR * usual, "s")


def _deleted_before_the_end(keys: list[int], giant: int) -> list[int]:
    ((_, outcome),) = people.outcomes([giant], DATABASE)
    end = outcome.done_at
    assert end is not None, "the giant is not done"
    return [int(str(each.key)) for each in log.of_users(keys) if each.recorded_at < end]


def _count_rows() -> None:
    with connections[DATABASE].cursor() as cursor:
        for table in ("blog_post", "blog_comment"):
            cursor.execute(COUNT_ROWS.format(table=table))


def _largest_statement() -> int:
    with connections[DATABASE].cursor() as cursor:
        cursor.execute("SELECT coalesce(max(number), 0) FROM faults_statement")
        return int(cursor.fetchone()[0])


def _left(giant: int) -> int:
    return Post.objects.using(DATABASE).filter(author=giant).count()
