"""B11: what anybody may ask costs little beside a million open cascades, and disturbs nobody."""

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

from apps.integrity import report
from sandbox.processes import Process, eventually, free_port

from ..lib.result import Result, percentile, ratios, short, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lib.stage import Stage

OPEN, ASKED = 1_000_000, 200
#: Strangers, and how often each of them asks: far more often than any probe does.
STRANGERS, PER_SECOND = 8, 20
HOST = "127.0.0.1"
#: The page of somebody else, and one that costs a stranger as little as any.
PAGE, NOWHERE = "/", "/nowhere"
HEALTHZ = "/integrity/healthz"
OPEN_ROWS = """
WITH made AS (
    INSERT INTO integrity_deletion (parent, key, source, state, recorded_at)
    SELECT 'auth.User', number::text, 'trigger', 'dispatched', now() - interval '1 hour'
    FROM generate_series(1, %s) AS number RETURNING id, recorded_at
)
INSERT INTO integrity_cascade (deletion_id, database, state, due_at, recorded_at)
SELECT id, alias, 'pending', recorded_at, recorded_at
FROM made, unnest(array['blog_db', 'shop_db']) AS alias
"""

#: Beat and a worker, so that all is well for as long as this takes.
ALIVE = """
INSERT INTO integrity_heartbeat (name, seen_at)
SELECT name, now() + interval '1 hour' FROM unnest(array['beat', 'worker']) AS name
"""


def run(stage: Stage) -> Iterator[Result]:
    """All of B11."""
    stage.clear()
    with connections["default"].cursor() as cursor:
        cursor.execute(OPEN_ROWS, [OPEN // 2])
        cursor.execute(ALIVE)
        cursor.execute("VACUUM (ANALYZE) integrity_deletion, integrity_cascade")
    with _web(stage) as port:
        yield from _beside(stage, port)
    yield _computed(stage)
    stage.clear()


def _computed(stage: Stage) -> Result:
    """Each answer computed anew: the first one after two seconds, as a probe has it."""
    client, samples = Client(), list[float]()
    for _ in range(stage.scale.rounds):
        took = list[float]()
        for _ in range(ASKED):
            report.health.forget()
            began = time.perf_counter()
            client.get(HEALTHZ)
            took.append((time.perf_counter() - began) * 1_000)
        samples.append(percentile(took))
    title = "p95 of healthz where each answer is computed"
    return Result.of("B11.computed", title, samples, 10, unit="ms")


def _beside(stage: Stage, port: int) -> Iterator[Result]:
    """Another page's p50: alone, beside strangers who ask healthz, and who ask for nothing."""
    took: dict[str, list[float]] = {"alone": [], HEALTHZ: [], NOWHERE: []}
    probes = list[float]()
    for number in range(stage.scale.rounds):
        took["alone"].append(statistics.median(_asked(port, PAGE)))
        for path in sorted((HEALTHZ, NOWHERE), reverse=bool(number % 2)):
            with _strangers(stage, port, path):
                took[path].append(statistics.median(_asked(port, PAGE)))
                if path == HEALTHZ:
                    probes.append(percentile(_asked(port, HEALTHZ)))
        said = ", ".join(f"{name} {short(each[-1])} ms" for name, each in took.items())
        stage.tell(f"round {number + 1} of {stage.scale.rounds}: {said}")
    detail = {f"{name}_ms": spread(each) for name, each in took.items()}
    who = f"{STRANGERS} strangers who ask {STRANGERS * PER_SECOND} times a second"
    title = f"p95 of healthz beside {OPEN:,} open cascades and {who}"
    yield Result.of("B11", title, probes, 10, unit="ms")
    title = "p50 of another page beside them"
    alone = ratios(took[HEALTHZ], took["alone"])
    yield Result.of("B11.beside", title, alone, 1.2, detail=detail)
    title = "the same beside as many who ask for a page that is not there"
    yield Result.of("B11.nowhere", title, ratios(took[HEALTHZ], took[NOWHERE]), 1.2)


def _asked(port: int, path: str) -> list[float]:
    """Milliseconds of each request."""
    connection, took = HTTPConnection(HOST, port, timeout=30), list[float]()
    for _ in range(ASKED):
        began = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        took.append((time.perf_counter() - began) * 1_000)
        time.sleep(0.01)
    connection.close()
    return took


@contextmanager
def _strangers(stage: Stage, port: int, path: str) -> Iterator[None]:
    argv = [sys.executable, "-m", "benchmarks.lib.http_load"]
    argv += map(str, (port, path, STRANGERS, PER_SECOND))
    asking = Process(argv, log=stage.folder() / "strangers.log", env=dict(os.environ)).start()
    try:
        if not eventually(lambda: "asking" in asking.tail(), timeout=60):
            raise AssertionError(f"nobody asks\n{asking.tail()}")
        yield
        asking.check()
    finally:
        asking.kill()


@contextmanager
def _web(stage: Stage) -> Iterator[int]:
    """The site, as a small one runs: two processes of four threads."""
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
