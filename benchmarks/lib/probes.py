"""`python -m benchmarks.lib.probes NAME '[[…], {…}]'`: run one function in a new process.

The last line of standard output is the function's result as JSON.
"""

from __future__ import annotations

import json
import math
import re
import resource
import secrets
import statistics
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Patterns that classify statements.
SCANNED = re.compile(r'"(parents|children)_')
LOG = re.compile(r'"?integrity_')
MEGABYTE = 2**20
STATUS = Path("/proc/self/status")
SEED_MEMORY = 8 * 2**30
PROBES: dict[str, Callable[..., Any]] = {}


def main() -> None:
    """Run the function from the command line."""
    name, arguments = sys.argv[1:]
    given, named = json.loads(arguments)
    django.setup()
    result = PROBES[name](*given, **named)
    sys.stdout.write(f"{json.dumps(result)}\n")


def _probe(function: Callable[..., Any]) -> Callable[..., Any]:
    PROBES[function.__name__] = function
    return function


@_probe
def tables() -> None:
    """Create the log's tables in the databases of the environment."""
    from django.core.management import call_command

    for alias in ("default", "blog_db"):
        call_command("migrate", "integrity", verbosity=0, database=alias)


@_probe
def scan(label: str, *, portable: bool = False) -> dict[str, Any]:
    """Run one scan of the relation. `portable` forces the portable key reader."""
    from apps.integrity import backends, relations
    from apps.integrity import scan as product
    from apps.integrity.backends.portable.keys import PortableKeys

    if portable:
        backends.key_reader = lambda *_, **__: PortableKeys()
    _connect()
    field = relations.catalogue().relation(label).field
    backends.key_reader(field, child="blog_db", parent="default")  # imported on first use
    with _counted() as counts:
        idle, started, cpu = _memory(), time.perf_counter(), time.process_time()
        passes, unreachable = product.scan(
            "blog_db", labels=[label], seconds=math.inf, mode=product.Mode(full=True)
        )
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    assert not unreachable, unreachable
    (done,) = passes
    assert done.complete, done.reason
    return {
        "seconds": seconds,
        "client_cpu": cpu,
        "megabytes": _peak() - idle,
        "idle_megabytes": idle,
        "statements": dict(counts),
        "keys": done.keys_scanned,
        "rows": done.rows_scanned,
        "missing": _missing(label),
        "orphans": done.orphans,
    }


@_probe
def beside_mariadb(*, uuids: bool, parents: int, rounds: int) -> dict[str, Any]:
    """Scan a relation on MariaDB and join its tables, several times."""
    from . import mariadb

    idle = _memory()
    figures = mariadb.beside(uuids=uuids, parents=parents, rounds=rounds)
    return {**figures, "megabytes": _peak() - idle}


@_probe
def log_life(*, deletions: int, finished: int, rounds: int) -> dict[str, Any]:
    """Drain deletions without rows in the databases of the environment."""
    from django.db import connections

    from . import log_life

    if connections["default"].vendor == "mysql":
        log_life.tables()
    return log_life.life(deletions, finished, rounds)


@_probe
def plans(label: str) -> dict[str, Any]:
    """Return the plans of a step's two statements, for keys in the middle of the table."""
    from django.db import connections, transaction

    from apps.integrity import conf, relations
    from apps.integrity.backends.postgresql import packed
    from apps.integrity.backends.postgresql.keys import PostgreSQLKeys

    relation, reader = relations.catalogue().relation(label), PostgreSQLKeys()
    statements: dict[str, tuple[str, Any]] = {}

    def record(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001
        statements[context["connection"].alias] = (sql, params)
        return execute(sql, params, many, context)

    with ExitStack() as stack:
        for alias in ("default", "blog_db"):
            stack.enter_context(connections[alias].execute_wrapper(record))
        size = conf.current().scan_step_keys_max
        first = reader.ask(relation.field, None, size, child="blog_db")()
        assert first is not None
        step = reader.ask(relation.field, first.last, size, child="blog_db")() or first
        reader.missing(relation.field, step, parent="default")
    plans_by_alias = {}
    for alias, (sql, params) in statements.items():
        with transaction.atomic(using=alias), packed.cursor(alias, "bigint") as cursor:
            if alias == "blog_db":
                cursor.execute("SET LOCAL max_parallel_workers_per_gather = 0")
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", params)
            plans_by_alias[alias] = cursor.fetchone()[0][0]
    return plans_by_alias


@_probe
def seed(label: str) -> dict[str, Any]:
    """Count orphans with a list of all parent keys, a common approach."""
    from django.db import connections

    from apps.integrity import relations

    resource.setrlimit(resource.RLIMIT_AS, (SEED_MEMORY, SEED_MEMORY))
    relation = relations.catalogue().relation(label)
    _connect()
    for alias in ("default", "blog_db"):
        with connections[alias].cursor() as cursor:
            cursor.execute("SET statement_timeout = 0")
    idle, started = _memory(), time.perf_counter()
    valid = set(relation.parent.objects.values_list("id", flat=True))
    orphans = relation.child.objects.exclude(parent_id__in=valid).count()
    return {
        "seconds": time.perf_counter() - started,
        "megabytes": _peak() - idle,
        "orphans": orphans,
    }


@_probe
def ticks(times: int) -> dict[str, Any]:
    """Time beat's scan task when no scan is due in any database."""
    from apps.integrity import relations
    from apps.integrity import scan as product
    from apps.integrity.queues import celery

    for database in relations.catalogue().child_databases:
        passes, _ = product.scan(database, seconds=math.inf, mode=product.Mode(throttled=True))
        assert all(scanned.complete for scanned in passes), passes
    took, queries = [], []
    for _ in range(times):
        with _counted() as counts:
            started = time.perf_counter()
            celery.scan_for_orphans.run()
            took.append((time.perf_counter() - started) * 1000)
        queries.append(sum(counts.values()))
    return {"milliseconds": took, "queries": statistics.median(queries)}


@_probe
def scan_forever() -> None:
    """Run throttled scans without a pause, until the process is stopped."""
    from django.test import override_settings

    from apps.integrity import scan as product

    with override_settings(INTEGRITY={"scan_period_seconds": 0.001}):
        while True:
            product.scan("blog_db", mode=product.Mode(throttled=True))


@_probe
def writers(count: int, seconds: float, gap: float) -> dict[str, int]:
    """Write children that are committed `gap` seconds before their parents."""
    until, written = time.monotonic() + seconds, Counter[str]()

    def write() -> None:
        from django.db import connections, transaction

        from benchmarks.schemas.children.models import Visit
        from benchmarks.schemas.parents.models import Guest

        while time.monotonic() < until:
            with transaction.atomic(using="default"):
                guest = Guest.objects.create(pk=secrets.randbelow(2**62), name="in a moment")
                with transaction.atomic(using="blog_db"):
                    Visit.objects.create(parent=guest, title="early")
                time.sleep(gap)
            written["pairs"] += 1
        connections.close_all()

    threads = [threading.Thread(target=write) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return dict(written)


def _connect() -> None:
    """Open connections and import backends: an idle process has them, and they take memory."""
    from django.db import connections

    from apps.integrity import backends

    for alias in ("default", "blog_db"):
        for choose in (backends.log_backend, backends.row_backend, backends.barrier_backend):
            choose(alias)
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1")


@contextmanager
def _counted() -> Iterator[Counter[str]]:
    """Count the statements of the block by kind, including connection checks."""
    from django.db import connections

    counts: Counter[str] = Counter()

    def count(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001
        name = "scanned" if SCANNED.search(sql) else "log" if LOG.search(sql) else "other"
        counts[name] += 1
        return execute(sql, params, many, context)

    with ExitStack() as stack:
        for alias in ("default", "blog_db"):
            connection = connections[alias]
            stack.enter_context(connection.execute_wrapper(count))
            stack.enter_context(_checks_counted(connection, counts))
        yield counts


@contextmanager
def _checks_counted(connection: Any, counts: Counter[str]) -> Iterator[None]:
    """Count calls of `is_usable`, whose statement bypasses execute wrappers."""
    usable = connection.is_usable

    def check() -> bool:
        counts["check"] += 1
        return bool(usable())

    connection.is_usable = check
    try:
        yield
    finally:
        del connection.is_usable


def _missing(label: str) -> list[str]:
    """Return the keys of the relation's suspects in the log."""
    from apps.integrity.models import Suspect

    keys = Suspect.objects.using("default").filter(relation=label)
    return [str(key) for key in keys.values_list("value", flat=True)]


def _memory() -> float:
    """Return the process's current megabytes, or the peak if the system does not report them."""
    return _status("VmRSS") or _peak()


def _peak() -> float:
    """Return the process's peak megabytes.

    `ru_maxrss` is only a fallback: on Linux it is inherited from the parent process.
    """
    unit = 1 if sys.platform == "darwin" else 1024
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEGABYTE


def _status(name: str) -> float:
    """Return a field of /proc/self/status in megabytes; 0 outside Linux."""
    if not STATUS.exists():
        return 0
    fields = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(fields[name].split()[0]) / 1024


if __name__ == "__main__":
    main()
