"""B6: the time from the commit until the first row in the other database is deleted.

One user is deleted on an idle system. It is compared with an empty Celery task, from publishing it
until it starts.
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
#: The number of users in one round.
TIMES = 10
#: The pause before each delete: a process that has just notified merges its next notifications.
IDLE_SECONDS = 0.6
TIMEOUT_SECONDS = 30.0
FIRST = 1
#: The trigger's notification arrives when its transaction has committed.
CREATE_TRIGGER = """
CREATE FUNCTION bench_tell() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN NOTIFY bench_gone; RETURN NULL; END';
CREATE TRIGGER bench_tell AFTER DELETE ON blog_post
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION bench_tell();
"""
DROP_TRIGGER = "DROP TRIGGER bench_tell ON blog_post; DROP FUNCTION bench_tell()"


def run(stage: Stage) -> Iterator[Result]:
    """Yield the results of B6."""
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
        f"{name}_ms": {**spread(values), "p95": percentile(values)}
        for name, values in every.items()
    }
    title = "commit until the first row is gone beside a Celery task that does nothing, p50"
    yield Result.of("B6", title, ratios(took["ours"], took["no-op"]), 4.5, detail=detail)


def _delete(gone: psycopg.Connection) -> float:
    """Delete a user with one post; return the milliseconds."""
    keys = rows.users(FIRST)
    rows.content(keys, posts=1, comments=0, orders=0)
    user = User.objects.get(pk=FIRST)
    committed = list[float]()
    time.sleep(IDLE_SECONDS)
    with transaction.atomic():
        transaction.on_commit(lambda: committed.append(time.perf_counter()))
        user.delete()
    if not list(gone.notifies(timeout=TIMEOUT_SECONDS, stop_after=1)):
        raise ProcessError(f"the post was not deleted in {TIMEOUT_SECONDS:g} s")
    took = time.perf_counter() - committed[0]
    if not eventually(lambda: not cascades.is_open(), timeout=TIMEOUT_SECONDS):
        raise ProcessError("the cascade did not end")
    return took * 1_000


def _publish(begun: socket.socket) -> float:
    """Publish an empty task; return the milliseconds until it starts."""
    started = time.perf_counter()
    nothing.apply_async(args=(begun.getsockname()[1],), queue=queue_of(DATABASE))
    begun.recv(16)
    return (time.perf_counter() - started) * 1_000


@contextmanager
def _listening() -> Iterator[psycopg.Connection]:
    """Yield a connection that is notified when posts are deleted."""
    with connections[DATABASE].cursor() as cursor:
        cursor.execute(CREATE_TRIGGER)
    database = connections[DATABASE].settings_dict
    try:
        with psycopg.connect(
            host=database["HOST"],
            port=database["PORT"],
            user=database["USER"],
            password=database["PASSWORD"],
            dbname=database["NAME"],
            autocommit=True,
        ) as connection:
            connection.execute("LISTEN bench_gone")
            yield connection
    finally:
        with connections[DATABASE].cursor() as cursor:
            cursor.execute(DROP_TRIGGER)


@contextmanager
def _port() -> Iterator[socket.socket]:
    """Yield a UDP socket to which a task reports that it has started."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((LOOPBACK, 0))
        receiver.settimeout(TIMEOUT_SECONDS)
        yield receiver
