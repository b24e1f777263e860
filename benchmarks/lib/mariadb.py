"""Tables on MariaDB, their join, and their scan, in the process of a probe."""

# ruff: noqa: S608 - names are ours

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from django.db import connections

from apps.integrity import scan

from ..schemas.children.models import Note, Post
from ..schemas.parents.models import Account, Member
from .scans import HOMES, forget

if TYPE_CHECKING:
    from django.db.models import Model

CHILDREN = 5
#: One parent of so many is missing.
GAP = 1_000


def load(parent: type[Model], child: type[Model], parents: int) -> None:
    """Create and fill both tables, each in its database."""
    key = "{}"
    if parent is Account:
        digest = "MD5(CONCAT('key ', {0}))"
        key = f"CONCAT(LEFT({digest}, 12), '4', MID({digest}, 14, 3), '8', RIGHT({digest}, 15))"
        if connections[HOMES[0]].features.has_native_uuid_field:
            key = f"CAST({key} AS UUID)"
    parents_sql = (
        f"SELECT {key.format('seq')}, CONCAT('parent ', seq) FROM seq_1_to_{parents}"
        f" WHERE seq % {GAP} <> 7"
    )
    children_sql = (
        f"SELECT seq, {key.format('drawn')}, CONCAT('title of row ', seq) FROM (SELECT seq,"
        f" 1 + FLOOR(RAND(7) * {parents}) AS drawn FROM seq_1_to_{parents * CHILDREN}) AS one"
    )
    rows = (parents_sql, children_sql)
    for model, alias, filling in zip((parent, child), HOMES, rows, strict=True):
        table = model._meta.db_table
        with connections[alias].cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {table}")
        with connections[alias].schema_editor() as editor:
            editor.create_model(model)
        names = ", ".join(field.column for field in model._meta.local_concrete_fields)
        with connections[alias].cursor() as cursor:
            cursor.execute(f"INSERT INTO {table} ({names}) {filling}")
            cursor.execute(f"ANALYZE TABLE {table}")
            cursor.fetchall()


def left_join(parent: type[Model], child: type[Model]) -> tuple[float, int]:
    """Return the seconds of the join, and the orphans that it found."""
    there = connections[HOMES[0]].settings_dict["NAME"]
    started = time.perf_counter()
    with connections[HOMES[1]].cursor() as cursor:
        cursor.execute(
            f"SELECT child.id, child.parent_id FROM {child._meta.db_table} AS child"
            f" LEFT JOIN {there}.{parent._meta.db_table} AS parent ON parent.id = child.parent_id"
            " WHERE parent.id IS NULL AND child.parent_id IS NOT NULL"
        )
        return time.perf_counter() - started, len(cursor.fetchall())


def beside(*, uuids: bool, parents: int, rounds: int) -> dict[str, Any]:
    """Return the seconds of joins and scans, one after the other."""
    parent, child = (Account, Note) if uuids else (Member, Post)
    load(parent, child, parents)
    left_join(parent, child)
    took: dict[str, list[float]] = {"LJ": [], "ours": []}
    keys = rows = 0
    for _ in range(rounds):
        seconds, orphans = left_join(parent, child)
        took["LJ"].append(seconds)
        forget(HOMES[0])
        started = time.perf_counter()
        (done,), unreachable = scan.scan(
            HOMES[1],
            labels=[f"{child._meta.label}.parent"],
            seconds=math.inf,
            mode=scan.Mode(full=True),
        )
        took["ours"].append(time.perf_counter() - started)
        if unreachable or not done.complete or done.orphans != orphans:
            raise AssertionError(f"the scan and the join do not agree: {done}, {orphans}")
        keys, rows = done.keys_scanned, done.rows_scanned
    return {**took, "keys": keys, "rows": rows, "orphans": orphans}
