"""Joins inside one database, with which the scan is compared.

LJ is the usual `LEFT JOIN … IS NULL`, with the plan that the server chooses. MJ is close to the
optimum: it merges two index-only scans, and then reads only the rows of the missing keys.
"""

# ruff: noqa: S608 - names come from models

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .orphans import Tables

#: Settings that leave the server only the merge join for the first statement.
MERGE = (
    "max_parallel_workers_per_gather = 0",
    "enable_hashjoin = off",
    "enable_nestloop = off",
    "enable_hashagg = off",
    "enable_sort = off",
    "enable_seqscan = off",
    "enable_bitmapscan = off",
)


@dataclass(frozen=True, slots=True)
class Orphans:
    """The orphans that a join found, and the seconds that it took."""

    keys: frozenset[str]
    rows: int
    seconds: float


def left_join(tables: Tables, using: str, *, parents: str = "") -> Orphans:
    """Run LJ. `parents` is the parents' table, if it has another name in this database."""
    parent, child = tables.names
    sql = (
        f"SELECT child.id, child.parent_id FROM {child} AS child"
        f" LEFT JOIN {parents or parent} AS parent ON parent.id = child.parent_id"
        " WHERE parent.id IS NULL AND child.parent_id IS NOT NULL"
    )
    started = time.perf_counter()
    with connections[using].cursor() as cursor:
        cursor.execute(sql)
        rows = cursor.fetchall()
    return _orphans(rows, time.perf_counter() - started)


def merge_join(tables: Tables, using: str) -> Orphans:
    """Run MJ without parallel workers."""
    started = time.perf_counter()
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        for setting in MERGE:
            cursor.execute(f"SET LOCAL {setting}")
        cursor.execute(_merge(tables))
        keys = [key for (key,) in cursor.fetchall()]
        cursor.execute("SET LOCAL enable_nestloop = on")
        _, child = tables.names
        cursor.execute(f"SELECT id, parent_id FROM {child} WHERE parent_id = ANY(%s)", [keys])
        rows = cursor.fetchall()
    return _orphans(rows, time.perf_counter() - started)


def merge_plan(tables: Tables, using: str) -> list[str]:
    """Return the plan nodes of MJ's first statement, to check that it is a merge join."""
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        for setting in MERGE:
            cursor.execute(f"SET LOCAL {setting}")
        cursor.execute(f"EXPLAIN (FORMAT JSON) {_merge(tables)}")
        ((((plan,),)),) = cursor.fetchall()
    return nodes(plan["Plan"])


def nodes(plan: dict[str, Any]) -> list[str]:
    """Return the names of a plan's nodes from the top, without reads of the system catalog."""
    if plan.get("Relation Name") == "pg_class":  # one row, to check for row-level security
        return []
    below = [name for child in plan.get("Plans", ()) for name in nodes(child)]
    return [f"{plan['Node Type']}{_kind(plan)}", *below]


def attached(tables: Tables, using: str, parents: str) -> Orphans:
    """Run LJ in SQLite, with the parents' file attached."""
    path = connections[parents].settings_dict["NAME"]
    with connections[using].cursor() as cursor:
        cursor.execute("ATTACH DATABASE %s AS other", [str(path)])
        try:
            return left_join(tables, using, parents=f"other.{tables.names[0]}")
        finally:
            cursor.execute("DETACH DATABASE other")


def _merge(tables: Tables) -> str:
    parent, child = tables.names
    return (
        "SELECT key FROM"
        f" (SELECT DISTINCT parent_id AS key FROM {child} WHERE parent_id IS NOT NULL ORDER BY 1)"
        f" AS held WHERE NOT EXISTS (SELECT FROM {parent} AS parent WHERE parent.id = held.key)"
    )


def _kind(plan: dict[str, Any]) -> str:
    return f" {plan['Join Type']}" if "Join Type" in plan else ""


def _orphans(rows: Sequence[tuple[Any, Any]], seconds: float) -> Orphans:
    return Orphans(frozenset(str(key) for _, key in rows), len(rows), seconds)
