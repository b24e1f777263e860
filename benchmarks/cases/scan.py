"""B7: the scan for orphans, compared with joins inside one database and with common approaches.

All variants must find the same orphans in the same rows. The time of a scan includes saving its
cursor and the suspects. Each pass runs in a new process.
"""

# ruff: noqa: RUF001 - signs as people write them

from __future__ import annotations

import math
import statistics
import time
from typing import TYPE_CHECKING, Any

from django.db import connections

from apps.integrity import conf

from ..lib import joins, orphans
from ..lib.orphans import Tables
from ..lib.result import Result, interleaved, ratios, spread
from ..lib.scans import HOMES, LITE, Join, Scans, forget, lite_environment
from ..lib.stage import TOGETHER
from ..schemas.children.models import FewPost, Note, Post, Visit
from ..schemas.parents.models import Account, FewMember, Guest, Member
from . import scan_under_load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lib.joins import Orphans
    from ..lib.stage import Stage

#: The most rows for SQLite and for the list of all keys, which takes minutes and gigabytes.
MILLION = 1_000_000
INDEX_ONLY = "Index Only Scan"
#: Scan nodes that read no table.
WITHOUT_TABLE = {INDEX_ONLY, "Function Scan", "Subquery Scan"}


def run(stage: Stage) -> Iterator[Result]:
    """Yield the results of B7."""
    rows = stage.scale.rows
    large = Tables(parent=Member, child=Post, parents=rows, children=rows)
    few = Tables(parent=FewMember, child=FewPost, parents=rows // 5, children=rows // 5)
    _load(stage, large, *HOMES)
    _load(stage, large, TOGETHER, TOGETHER)
    _load(stage, few, *HOMES)
    visits = Tables(parent=Guest, child=Visit, parents=orphans.BLOCK, children=0)
    _load(stage, visits, *HOMES)
    plan = joins.merge_plan(large, TOGETHER)
    if "Merge Join Anti" not in plan or plan.count(INDEX_ONLY) != 2:  # noqa: PLR2004
        raise AssertionError(f"MJ is no merge of two index-only scans: {plan}")
    scans = Scans(stage, large)
    yield from _headline(stage, scans, Scans(stage, few))
    yield _plans(stage, large)
    million = large if rows <= MILLION else few
    yield _seed(stage, million)
    yield from _remote(scans)
    yield _uuid(stage)
    yield _sqlite(stage, million)
    yield from _idle(stage)
    yield scan_under_load.interference(stage, large)
    yield scan_under_load.stress(stage, visits)


def _headline(stage: Stage, large: Scans, few: Scans) -> Iterator[Result]:
    tables, portable = large.tables, Scans(stage, large.tables, portable=True)
    join = Join(lambda: joins.left_join(tables, TOGETHER), (large, portable))
    join()  # a warm-up that reads the tables from disk
    took = interleaved(
        stage.scale.rounds,
        {
            "LJ": join,
            "MJ": lambda: joins.merge_join(tables, TOGETHER).seconds,
            "ours": large,
            "few": few,
            "portable": portable,
        },
        stage.tell,
    )
    ours, detail = took["ours"], {"seconds": _spreads(took), **large.last}
    title = "scan beside LEFT JOIN … IS NULL in one database (LJ)"
    yield Result.of("B7", title, ratios(ours, took["LJ"]), None, detail=detail)
    title = "scan beside the merge of two indexes in one database (MJ)"
    yield Result.of("B7.merge", title, ratios(ours, took["MJ"]), 1.15)
    title = "the ORM's form beside LJ"
    yield Result.of("B7.portable", title, ratios(took["portable"], took["LJ"]), 2.0)
    yield from _growth(large, few)
    allowed = 2 * math.ceil(large.last["keys"] / conf.current().scan_step_keys_max) + 5
    counts = [counts["scanned"] for counts in large.of("statements")]
    title = "statements on the scanned tables"
    yield Result.of("B7.statements", title, counts, allowed, unit="statements")


def _growth(large: Scans, few: Scans) -> Iterator[Result]:
    """Yield how the time per row and the memory grow with the number of rows."""
    times = large.tables.children / few.tables.children
    growth = [ratio / times for ratio in ratios(large.of("seconds"), few.of("seconds"))]
    title = f"time for each row at {times:g} × the rows"
    yield Result.of("B7.growth", title, growth, 1.1, detail=_spreads({"few": few.of("seconds")}))
    megabytes, less = large.of("megabytes"), few.of("megabytes")
    detail = {"idle": spread(large.of("idle_megabytes"))}
    title = "memory of the client over idle"
    yield Result.of("B7.memory", title, megabytes, 15, unit="MB", detail=detail)
    more = [one - other for one, other in zip(megabytes, less, strict=True)]
    title = f"and how much more at {times:g} × the rows"
    yield Result.of("B7.flat", title, more, 3, unit="MB")


def _plans(stage: Stage, tables: Tables) -> Result:
    """Check the plans, which have no noise: a step's two statements read only indexes."""
    forget(HOMES[0])
    plans = {alias: plan["Plan"] for alias, plan in stage.probe("plans", tables.label).items()}
    nodes = {alias: joins.nodes(plan) for alias, plan in plans.items()}
    others = [
        name
        for names in nodes.values()
        for name in names
        if name.endswith("Scan") and name not in WITHOUT_TABLE
    ]
    fetched = sum(_fetched(plan) for plan in plans.values())
    milliseconds = {alias: plan["Actual Total Time"] for alias, plan in plans.items()}
    detail = {"nodes": nodes, "milliseconds": milliseconds, "reads_tables": others}
    title = "rows of tables that a step reads beside the indexes"
    samples = [math.inf if others else fetched]
    return Result.of("B7.plans", title, samples, 0, unit="rows", detail=detail)


def _fetched(plan: dict[str, Any]) -> int:
    return int(plan.get("Heap Fetches", 0)) + sum(map(_fetched, plan.get("Plans", ())))


def _seed(stage: Stage, tables: Tables) -> Result:
    """Compare with a list of all keys. Measured once, because it is slow and far off the target."""
    ours = Scans(stage, tables)
    seconds = statistics.median(ours() for _ in range(3))
    seed = stage.probe("seed", tables.label)
    if seed["orphans"] != ours.last["orphans"]:
        raise AssertionError("the list of all keys and the scan do not agree")
    detail = {
        "seconds": round(seed["seconds"], 2),
        "ours_seconds": round(seconds, 2),
        "megabytes": round(seed["megabytes"], 1),
        "ours_megabytes": round(ours.last["megabytes"], 1),
    }
    title = f"times as fast as exclude(…__in=set(ids)), {tables.children:,} rows"
    return Result.of(
        "B7.seed", title, [seed["seconds"] / seconds], 20, at_least=True, detail=detail
    )


def _remote(scans: Scans) -> Iterator[Result]:
    """Compare with postgres_fdw, once. Yield nothing if the server has no postgres_fdw."""
    if (join := _remote_join(scans.tables)) is not None:
        ratio = statistics.median(scans.of("seconds")) / join.seconds
        detail = {"seconds": round(join.seconds, 2)}
        yield Result.of("B7.fdw", "scan beside postgres_fdw's join", [ratio], 1.0, detail=detail)


def _remote_join(tables: Tables) -> Orphans | None:
    """Join the children with a foreign table of the parents; None without postgres_fdw."""
    parents, table = connections[HOMES[0]].settings_dict, tables.names[0]
    server = {"host": parents["HOST"], "port": parents["PORT"], "dbname": parents["NAME"]}
    login = {"user": parents["USER"], "password": parents["PASSWORD"]}
    with connections[HOMES[1]].cursor() as cursor:
        cursor.execute("SELECT FROM pg_extension WHERE extname = 'postgres_fdw'")
        if not cursor.fetchall():
            return None
        options = _options({**server, "fetch_size": 50_000})
        cursor.execute(f"CREATE SERVER there FOREIGN DATA WRAPPER postgres_fdw {options}")
        cursor.execute(f"CREATE USER MAPPING FOR CURRENT_USER SERVER there {_options(login)}")
        cursor.execute("CREATE SCHEMA there")
        limit = f"LIMIT TO ({table})"
        cursor.execute(f"IMPORT FOREIGN SCHEMA public {limit} FROM SERVER there INTO there")
        cursor.execute(f"ANALYZE there.{table}")
    return joins.left_join(tables, HOMES[1], parents=f"there.{table}")


def _options(given: dict[str, Any]) -> str:
    pairs = [f"{name} '{value}'" for name, value in given.items()]
    return f"OPTIONS ({', '.join(pairs)})"


def _uuid(stage: Stage) -> Result:
    rows = stage.scale.rows
    tables = Tables(
        parent=Account,
        child=Note,
        parents=rows // 10,
        children=rows * 2 // 5,
        key="md5('key ' || number)::uuid",
    )
    _load(stage, tables, *HOMES)
    _load(stage, tables, TOGETHER, TOGETHER)
    scans = Scans(stage, tables)
    join = Join(lambda: joins.left_join(tables, TOGETHER), (scans,))
    join()
    took = interleaved(stage.scale.rounds, {"LJ": join, "ours": scans}, stage.tell)
    detail = {"seconds": _spreads(took), **scans.last}
    title = f"UUID keys, {tables.parents:,} and {tables.children:,} rows, beside LJ"
    return Result.of("B7.uuid", title, ratios(took["ours"], took["LJ"]), 1.5, detail=detail)


def _sqlite(stage: Stage, tables: Tables) -> Result:
    started = time.monotonic()
    orphans.copy(tables, HOMES, LITE)
    stage.probe("tables", env=lite_environment())
    stage.tell(f"copied {tables.names} to SQLite in {time.monotonic() - started:.0f} s")
    scans = Scans(stage, tables, lite=True)
    join = Join(lambda: joins.attached(tables, LITE[1], LITE[0]), (scans,))
    join()
    took = interleaved(stage.scale.rounds, {"ATTACH": join, "ours": scans}, stage.tell)
    detail = {"seconds": _spreads(took), **scans.last}
    title = f"SQLite, {tables.children:,} rows, beside the join of ATTACHed files"
    return Result.of("B7.sqlite", title, ratios(took["ours"], took["ATTACH"]), None, detail=detail)


def _idle(stage: Stage) -> Iterator[Result]:
    forget(HOMES[0])
    ticks = stage.probe("ticks", times=50)
    yield Result.of("B7.idle", "a tick with nothing due", ticks["milliseconds"], 5, unit="ms")
    title = "statements of such a tick"
    yield Result.of("B7.idle_statements", title, [ticks["queries"]], 10, unit="statements")


def _load(stage: Stage, tables: Tables, parents: str, children: str) -> None:
    started = time.monotonic()
    orphans.load(tables, parents, children)
    took = time.monotonic() - started
    sizes = f"{tables.parents:,} and {tables.children:,} rows"
    stage.tell(f"loaded {tables.names} with {sizes} into {parents}, {children}: {took:.0f} s")


def _spreads(samples: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    return {name: spread(values) for name, values in samples.items()}
