"""Rows of one key, found by the blocks of their table instead of an index.

Note [By blocks]: a key with several rows in each block of its table goes a fifth faster by blocks
than by an index, which leads to each row singly. So a walk through the blocks is used where the
first rows of the key's index are that close to each other. It begins with the first of them and
ends with the last: an index keeps rows of the same key in the order of the table, or backwards.
Without an index, it ends where the table does.

What a walk did not meet proves nothing: rows come and move behind it, and VACUUM FULL gives all of
them other blocks. So it is only a quick way to most of the rows, and an index leads to the rest.

Only in ordinary tables: the blocks of a partition or of a child table are numbered by themselves,
and other access methods may have no blocks.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from django.db import connections

from ..deleted import Deleted, Dense
from ..quoted import extra_conditions, names_of
from .row_sql import deleted, execute_and_count, returning_pks, rows_of_wanted_key
from .sql import EXACT, fetch, type_of

if TYPE_CHECKING:
    from ...relations import Field

#: The rows of an index that are judged by.
FIRST_ROWS = 1_000
#: With fewer rows of the key in a block, an index is as fast.
MIN_ROWS_PER_BLOCK = 2
#: Whether an index of a table can be read in the order of a column: their names are its parameters.
ORDERED = """
SELECT FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
WHERE indrelid = to_regclass(%s) AND attname = %s AND indpred IS NULL AND indisvalid
AND pg_index_column_has_property(indexrelid, 1, 'orderable')
"""


def dense_blocks(field: Field, key: Any, using: str) -> Dense | None:
    """See `RowBackend.dense_blocks`."""
    kind, names = type_of(field, using), names_of(field, using)
    if kind not in EXACT or field.unique:
        return None
    rows = f"FROM {names['table']} AS child {rows_of_wanted_key(field, using)}"
    table = connections[using].ops.quote_name(field.model._meta.db_table)
    block = "(child.ctid::text::point)[0]::bigint AS block"
    wanted = f"FROM (SELECT %s::{kind} AS key) AS wanted CROSS JOIN LATERAL"
    ((number, first, newest, last, end),) = fetch(
        using,
        f"SELECT count(*), min(block), max(block), (SELECT CASE WHEN EXISTS ({ORDERED})"
        f" THEN (SELECT block {wanted} (SELECT {block} {rows} DESC LIMIT 1) AS place) END),"
        " (SELECT pg_relation_size(pg_class.oid) / current_setting('block_size')::int"
        " FROM pg_class JOIN pg_am ON pg_am.oid = relam WHERE pg_class.oid = to_regclass(%s)"
        " AND relkind = 'r' AND amname = 'heap' AND NOT relhassubclass)"
        f" {wanted} (SELECT {block} {rows} LIMIT {FIRST_ROWS:d}) AS place",
        [table, field.column, key, table, key],
    )
    blocks = newest - first + 1 if number else 0
    if number < FIRST_ROWS or end is None or number < MIN_ROWS_PER_BLOCK * blocks:
        return None
    known = end - 1 if last is None else last  # the index may lead through the rows backwards
    return Dense(range(min(first, known), max(newest, known) + 1), number / blocks)


def delete_in_blocks(
    field: Field, key: Any, blocks: range, limit: int, *, pks: bool, using: str
) -> Deleted | None:
    """See `RowBackend.delete_in_blocks`, and Note [All or some] in rows.py.

    IS TRUE keeps the planner from the key's index, which would lead to all rows of the key.
    """
    names, kind = names_of(field, using), type_of(field, using)
    rows = (
        f"FROM {names['table']} AS child WHERE child.ctid >= %s::tid AND child.ctid < %s::tid"
        f" AND (child.{names['key']} = %s::{kind}{extra_conditions(field, 'child', using)}) IS TRUE"
    )
    place = [f"({blocks.start},0)", f"({blocks.stop},0)", key]
    counted = f"SELECT count(*) AS number FROM (SELECT {rows} LIMIT %s) AS found"
    delete = f"DELETE {rows} AND (SELECT number FROM few) <= %s"
    params = [*place, limit + 1, *place, limit]
    few = f"WITH few AS MATERIALIZED ({counted})"
    if not pks:  # without RETURNING, the server keeps no list of the rows
        number = execute_and_count(f"{few} {delete}", params, using)
        many = not number and fetch(using, counted, [*place, limit + 1])[0][0] > limit
        return None if many else Deleted(Counter({key: number} if number else {}), (), str)
    sql = (
        f"{few}, {returning_pks(field, delete, using)}"
        " UNION ALL SELECT NULL, number, NULL FROM few WHERE number > %s"
    )
    found = fetch(using, sql, [*params, limit])
    return None if any(key is None for key, _, _ in found) else deleted(field, found, using)
