"""B13: 50 child databases with one relation each, on one server.

Statements are counted, and do not depend on the machine. `BEGIN` and `COMMIT` do not count.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psycopg

from sandbox.environment import SUPERUSERS

from ..lib.result import Result

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lib.stage import Stage

DATABASES = 50
NAMES = ("many_default", *(f"many_child_{number}" for number in range(1, DATABASES + 1)))
#: What runs each second or minute, or on request, and how many statements it may send.
TICKS = {
    "dispatch": ("an idle tick of dispatch", 6),
    "maintain": ("an idle tick of maintenance", 6),
    "scan": ("a tick of scans", 6),
    "status": ("status", 6),
    "metrics": ("a scrape of the metrics", 20),
    "overview": ("the overview", 15),
    "healthz": ("healthz", 6),
}


def run(stage: Stage) -> Iterator[Result]:
    """Yield the results of B13."""
    url = os.environ[SUPERUSERS["default"]]
    with psycopg.connect(url, autocommit=True) as session:
        for name in NAMES:
            session.execute(f"CREATE DATABASE {name}".encode())
        try:
            yield from _measured(stage, url)
        finally:
            for name in NAMES:
                session.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def _measured(stage: Stage, url: str) -> Iterator[Result]:
    env = {"MANY_DATABASES": str(DATABASES), "MANY_SERVER": url.rpartition("/")[0]}
    with stage.client("benchmarks.schemas.many.settings", env) as client:
        client.ask("lib.many.prepare")
        figures = client.ask("lib.many.measure")
        opened = client.ask("lib.many.connections_of_a_worker")
    sent = {name: found["log"] + found["children"] for name, found in figures.items()}
    where = f"with {DATABASES} child databases"
    title = f"a deletion without rows {where}, until it is verified"
    yield Result.of(
        "B13", title, [sent["deletion"]], 250, unit="statements", detail=figures["deletion"]
    )
    for name, (what, most) in TICKS.items():
        title, detail = f"{what} {where}", figures[name]
        yield Result.of(f"B13.{name}", title, [sent[name]], most, unit="statements", detail=detail)
    title = f"status {where}, the fastest of five"
    yield Result.of("B13.status_ms", title, [figures["status"]["ms"]], 40, unit="ms")
    title = f"connections of a worker of {DATABASES} child databases"
    yield Result.of("B13.connections", title, [opened], 12, unit="connections")
