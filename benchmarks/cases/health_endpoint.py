"""B12: the health endpoint with half a million open deletions; its effect on other requests."""

from __future__ import annotations

import os
import statistics
import sys
import time
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import TYPE_CHECKING

from django.db import connections
from django.test import Client

from apps.integrity.report import health
from sandbox.processes import Process, eventually, free_port

from ..lib.result import Result, percentile, ratios, short, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lib.stage import Stage

OPEN, REQUESTS = 500_000, 200
#: Anonymous clients, and requests per second of each: far more than a health check sends.
CLIENTS, PER_SECOND = 8, 20
HOST = "127.0.0.1"
#: Another page, and one that does not exist, which is the cheapest request.
PAGE, NOWHERE = "/", "/nowhere"
HEALTHZ = "/integrity/healthz"
OPEN_ROWS = """
WITH made AS (
    INSERT INTO integrity_deletion (id, parent, key, source, batch, recorded_at)
    SELECT number, 'auth.User', number::text, 'trigger', (number - 1) / 100 * 100 + 1,
           now() - interval '1 hour'
    FROM generate_series(1, %s) AS number RETURNING id, batch, recorded_at
)
INSERT INTO integrity_cascade (batch, database, parent, deletions, size, due_at, recorded_at)
SELECT batch, alias, 'auth.User', array_agg(id ORDER BY id), count(*), min(recorded_at),
       min(recorded_at)
FROM made, unnest(array['blog_db', 'shop_db']) AS alias GROUP BY batch, alias
"""

#: Heartbeats of beat and a worker, so that the endpoint reports a healthy system.
ALIVE = """
INSERT INTO integrity_heartbeat (name, seen_at)
SELECT name, now() + interval '1 hour' FROM unnest(array['beat', 'worker']) AS name
"""


def run(stage: Stage) -> Iterator[Result]:
    """Yield the results of B12."""
    stage.clear()
    with connections["default"].cursor() as cursor:
        cursor.execute(OPEN_ROWS, [OPEN])
        cursor.execute(ALIVE)
        cursor.execute("VACUUM (ANALYZE) integrity_deletion, integrity_cascade")
    with _web(stage) as port:
        yield from _under_load(stage, port)
    yield _computed(stage)
    stage.clear()


def _computed(stage: Stage) -> Result:
    """Measure responses that are not cached, as a health check every few seconds gets them."""
    client, samples = Client(), list[float]()
    for _ in range(stage.scale.rounds):
        took = list[float]()
        for _ in range(REQUESTS):
            health.current_health.forget()
            began = time.perf_counter()
            client.get(HEALTHZ)
            took.append((time.perf_counter() - began) * 1_000)
        samples.append(percentile(took))
    title = "p95 of healthz where each answer is computed"
    return Result.of("B12.computed", title, samples, 10, unit="ms")


def _under_load(stage: Stage, port: int) -> Iterator[Result]:
    """Measure another page: alone, and under load on healthz or on a page that does not exist."""
    took: dict[str, list[float]] = {"alone": [], HEALTHZ: [], NOWHERE: []}
    probes = list[float]()
    for number in range(stage.scale.rounds):
        took["alone"].append(statistics.median(_request_times(port, PAGE)))
        for path in sorted((HEALTHZ, NOWHERE), reverse=bool(number % 2)):
            with _load(stage, port, path):
                took[path].append(statistics.median(_request_times(port, PAGE)))
                if path == HEALTHZ:
                    probes.append(percentile(_request_times(port, HEALTHZ)))
        line = ", ".join(f"{name} {short(values[-1])} ms" for name, values in took.items())
        stage.tell(f"round {number + 1} of {stage.scale.rounds}: {line}")
    detail = {f"{name}_ms": spread(values) for name, values in took.items()}
    who = f"{CLIENTS} strangers who ask {CLIENTS * PER_SECOND} times a second"
    title = f"p95 of healthz beside {OPEN:,} open deletions in two databases and {who}"
    yield Result.of("B12", title, probes, 10, unit="ms")
    title = "p50 of another page beside them"
    alone = ratios(took[HEALTHZ], took["alone"])
    yield Result.of("B12.beside", title, alone, 1.2, detail=detail)
    title = "the same beside as many who ask for a page that is not there"
    yield Result.of("B12.nowhere", title, ratios(took[HEALTHZ], took[NOWHERE]), 1.2)


def _request_times(port: int, path: str) -> list[float]:
    """Return the milliseconds of each request."""
    connection, took = HTTPConnection(HOST, port, timeout=30), list[float]()
    for _ in range(REQUESTS):
        began = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        took.append((time.perf_counter() - began) * 1_000)
        time.sleep(0.01)
    connection.close()
    return took


@contextmanager
def _load(stage: Stage, port: int, path: str) -> Iterator[None]:
    argv = [sys.executable, "-m", "benchmarks.lib.http_load"]
    argv += map(str, (port, path, CLIENTS, PER_SECOND))
    clients = Process(argv, log=stage.folder() / "load.log", env=dict(os.environ)).start()
    try:
        if not eventually(lambda: "asking" in clients.tail(), timeout=60):
            raise AssertionError(f"the clients did not start\n{clients.tail()}")
        yield
        clients.check()
    finally:
        clients.kill()


@contextmanager
def _web(stage: Stage) -> Iterator[int]:
    """Run the site with two processes of four threads each; yield its port."""
    port = free_port()
    options = ["--workers=2", "--threads=4", "--no-control-socket", f"--bind={HOST}:{port}"]
    argv = [sys.executable, "-m", "gunicorn", "config.wsgi", *options]
    web = Process(argv, log=stage.folder() / "web.log", env=dict(os.environ)).start()
    try:
        if not eventually(lambda: _answers(port), timeout=60):
            raise AssertionError(f"the site does not answer\n{web.tail()}")
        yield port
        web.check()
    finally:
        web.stop()


def _answers(port: int) -> bool:
    connection = HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", PAGE)
        return connection.getresponse().status < 500  # noqa: PLR2004
    except OSError:
        return False
    finally:
        connection.close()
