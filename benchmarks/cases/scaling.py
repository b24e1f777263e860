"""B9: throughput with more workers and more databases, whose servers have some latency.

A proxy in front of each database delays its answers. Workers then wait as they do for remote
servers, so that the few processors of one machine are not the limit.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import psycopg

from apps.integrity.routing import CONTROL, queue_for
from sandbox.environment import VARIABLES
from sandbox.proxy import Proxy

from ..lib.result import Result, interleaved, ratios, short, spread
from ..lib.shards import ITEMS
from ..lib.workers import start_workers
from ..schemas.shards.router import SHARDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..lib.clients import Client
    from ..lib.stage import Stage
    from ..lib.workers import Workers

SETTINGS = "benchmarks.schemas.shards.settings"
NUMBERS = (1, 2, 4)
MOST = max(NUMBERS)
#: The required share of perfect scaling.
SHARE = 0.8
#: The server of each shard's database.
SERVERS = {"shard_1": "blog_db", "shard_2": "shop_db", "shard_3": "blog_db", "shard_4": "shop_db"}
#: One worker for each shard. The others may also work on the first shard.
WORKERS = {"control": (CONTROL, 1), **{alias: (queue_for(alias), 1) for alias in SHARDS}}
FIRST = queue_for(SHARDS[0])


def run(stage: Stage) -> Iterator[Result]:
    """Yield the results of B9."""
    stage.clear()
    urls = {"default": stage.sandbox.environment[VARIABLES["default"]], **_databases(stage)}
    with ExitStack() as stack:
        proxies = {
            alias: stack.enter_context(Proxy(int(url.rpartition(":")[2].partition("/")[0])))
            for alias, url in urls.items()
        }
        away = {
            _variable(alias): urls[alias].replace(f":{proxy.target}/", f":{proxy.port}/")
            for alias, proxy in proxies.items()
        }
        near = {_variable(alias): url for alias, url in urls.items()}
        client = stack.enter_context(stage.client(SETTINGS, near))
        client.ask("lib.shards.prepare")
        environment = {"DJANGO_SETTINGS_MODULE": SETTINGS, **away}
        running = stack.enter_context(start_workers(stage.folder(), WORKERS, environment))
        scale = Scaling(stage, client, running, proxies)
        scale.warm_up()
        for milliseconds in stage.scale.latencies:
            yield from scale.at(milliseconds, last=milliseconds == stage.scale.latencies[-1])


class Scaling:
    """Measures rows per second by the number of workers and of databases."""

    def __init__(
        self, stage: Stage, client: Client, running: Workers, proxies: Mapping[str, Proxy]
    ) -> None:
        self.stage, self.client, self.running, self.proxies = stage, client, running, proxies
        self.trips: dict[str, list[float]] = {}

    def warm_up(self) -> None:
        """Let every process import its modules and connect."""
        for _ in range(3):
            self._rate(MOST, 1, 100)

    def at(self, milliseconds: int, *, last: bool) -> Iterator[Result]:
        """Yield the results with this latency. Only the last latency has targets."""
        for proxy in self.proxies.values():
            proxy.delay_seconds = milliseconds / 1_000
        self.trips.clear()
        real = _ping(self.proxies["default"])
        self.stage.tell(f"servers {milliseconds} ms away, SELECT 1 takes {short(real)} ms: rows/s")
        number = self.stage.scale.scaled
        ways = {"1": partial(self._rate, 1, 1, number)}
        for count in NUMBERS[1:]:
            ways[f"{count} workers"] = partial(self._rate, 1, count, number)
            ways[f"{count} databases"] = partial(self._rate, count, 1, number)
        took = interleaved(self.stage.scale.rounds, ways, self.stage.tell)
        for way in ways:
            if way == "1":
                continue
            times = int(way.split()[0])
            title = f"rows/s with {way}, {milliseconds} ms away, beside one"
            detail = {
                "select_ms": round(real, 2),
                "rows_per_second": {name: spread(took[name]) for name in ("1", way)},
                "round_trips_per_1000_rows": {
                    name: spread(self.trips[name]) for name in ("1", way)
                },
            }
            target = times * SHARE if last else None
            yield Result.of(
                f"B9.{way.replace(' ', '.')}.{milliseconds}",
                title,
                ratios(took[way], took["1"]),
                target,
                at_least=True,
                detail=detail,
            )
        trips = self.trips["1"]
        title = f"round trips for each 1,000 rows, {milliseconds} ms away"
        yield Result.of(f"B9.trips.{milliseconds}", title, trips, None, unit="round trips")

    def _rate(self, databases: int, workers: int, number: int) -> float:
        name = "1" if databases == workers == 1 else _way(databases, workers)
        before = self._answers()
        with self._first_shard_workers(workers):
            seconds: float = self.client.ask("lib.shards.cascaded", databases, number)
        rows = number * ITEMS * databases
        self.trips.setdefault(name, []).append((self._answers() - before) / rows * 1_000)
        return rows / seconds

    def _answers(self) -> int:
        return sum(proxy.answers for proxy in self.proxies.values())

    @contextmanager
    def _first_shard_workers(self, workers: int) -> Iterator[None]:
        """Let `workers` workers work on the first shard during the block."""
        helpers = SHARDS[1:workers]
        for name in helpers:
            self.running.add_consumer(name, FIRST)
        try:
            yield
        finally:
            for name in helpers:
                self.running.cancel_consumer(name, FIRST)


def _way(databases: int, workers: int) -> str:
    return f"{workers} workers" if workers > 1 else f"{databases} databases"


def _databases(stage: Stage) -> dict[str, str]:
    """Create a database for each shard; return their URLs."""
    urls = {}
    for alias, server in SERVERS.items():
        url = stage.sandbox.environment[VARIABLES[server]]
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {alias}".encode())
        urls[alias] = f"{url.rpartition('/')[0]}/{alias}"
    return urls


def _variable(alias: str) -> str:
    return VARIABLES.get(alias, f"DATABASE_URL_{alias.upper()}")


def _ping(proxy: Proxy) -> float:
    """Return the median milliseconds of SELECT 1 through the proxy."""
    from django.db import connections

    database = connections["default"].settings_dict
    with psycopg.connect(
        host=database["HOST"],
        port=proxy.port,
        user=database["USER"],
        password=database["PASSWORD"],
        dbname=database["NAME"],
        autocommit=True,
    ) as connection:
        took = []
        for _ in range(20):
            started = time.perf_counter()
            connection.execute("SELECT 1")
            took.append((time.perf_counter() - started) * 1_000)
    return sorted(took)[len(took) // 2]
