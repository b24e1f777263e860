"""B6: one user, an idle system: from the commit until the first row in the other database is gone.

Beside it: a Celery task that does nothing, from its publishing until it begins.
"""

from __future__ import annotations

import socket
import statistics
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import psycopg
from django.contrib.auth.models import User
from django.db import connections, transaction

from sandbox.processes import ProcessError, eventually
from sandbox.servers import LOOPBACK

from ..lib import cascades, rows
from ..lib.result import Result, interleaved, percentile, ratios, spread
from ..lib.workers import ONE_EACH, start_workers
from ..schemas.today.tasks import nothing, queue_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lib.stage import Stage

DATABASE = "blog_db"
#: Users of one round.
TIMES = 20
PATIENCE_SECONDS = 30.0
FIRST = 1
#: The trigger's word arrives when its transaction has committed.
TELL = """
CREATE FUNCTION bench_tell() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN NOTIFY bench_gone; RETURN NULL; END';
CREATE TRIGGER bench_tell AFTER DELETE ON blog_post
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION bench_tell();
"""
HUSH = "DROP TRIGGER bench_tell ON blog_post; DROP FUNCTION bench_tell()"


def run(stage: Stage) -> Iterator[Result]:
    """All of B6."""
    stage.clear()
    every: dict[str, list[float]] = {"ours": [], "no-op": []}
    workers = {**ONE_EACH, "blog_db": (f"{ONE_EACH['blog_db'][0]},{queue_of(DATABASE)}", 1)}
    with start_workers(stage.folder(), workers), _listening() as gone, _port() as begun:

        def measure(name: str) -> float:
            act = partial(_delete, gone) if name == "ours" else partial(_publish, begun)
            took = [act() for _ in range(TIMES)]
            every[name] += took
            return statistics.median(took)

        for name in every:
            measure(name)
        every = {name: [] for name in every}
        took = interleaved(
            stage.scale.rounds,
            {name: partial(measure, name) for name in every},
            stage.tell,
        )
    detail = {
        f"{name}_ms": {**spread(each), "p95": percentile(each)} for name, each in every.items()
    }
    title = "commit until the first row is gone beside a Celery task that does nothing, p50"
    yield Result.of("B6", title, ratios(took["ours"], took["no-op"]), 2.0, detail=detail)


def _delete(gone: psycopg.Connection) -> float:
    """Milliseconds for a user with one post."""
    keys = rows.users(FIRST)
    rows.content(keys, posts=1, comments=0, orders=0)
    user = User.objects.get(pk=FIRST)
    committed = list[float]()
    with transaction.atomic():
        transaction.on_commit(lambda: committed.append(time.perf_counter()))
        user.delete()
    if not list(gone.notifies(timeout=PATIENCE_SECONDS, stop_after=1)):
        raise ProcessError(f"the post was not deleted in {PATIENCE_SECONDS:g} s")
    took = time.perf_counter() - committed[0]
    if not eventually(lambda: not cascades.is_open(), timeout=PATIENCE_SECONDS):
        raise ProcessError("the cascade did not end")
    return took * 1_000


def _publish(begun: socket.socket) -> float:
    """Milliseconds for a task that does nothing."""
    started = time.perf_counter()
    nothing.apply_async(args=(begun.getsockname()[1],), queue=queue_of(DATABASE))
    begun.recv(16)
    return (time.perf_counter() - started) * 1_000


@contextmanager
def _listening() -> Iterator[psycopg.Connection]:
    """A connection that hears when rows of posts are gone."""
    with connections[DATABASE].cursor() as cursor:
        cursor.execute(TELL)
    there = connections[DATABASE].settings_dict
    try:
        with psycopg.connect(
            host=there["HOST"],
            port=there["PORT"],
            user=there["USER"],
            password=there["PASSWORD"],
            dbname=there["NAME"],
            autocommit=True,
        ) as connection:
            connection.execute("LISTEN bench_gone")
            yield connection
    finally:
        with connections[DATABASE].cursor() as cursor:
            cursor.execute(HUSH)


@contextmanager
def _port() -> Iterator[socket.socket]:
    """Where a task tells that it has begun."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heard:
        heard.bind((LOOPBACK, 0))
        heard.settimeout(PATIENCE_SECONDS)
        yield heard
