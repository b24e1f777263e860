"""Rows of one key, found by ranges of the primary key instead of the key's index.

Note [Blocks of primary keys]: InnoDB leaves a deleted row in its indexes until a thread of the
server removes it. Every statement that looks for the next rows of a key would read all that were
deleted before, so many small steps would take a time that grows with the square of the rows. And a
table is stored in the order of its primary key. So rows of a key that has many of them are deleted
by ranges of primary keys, each of which is read once. A block is that many consecutive numbers.

What a walk did not meet proves nothing, as with PostgreSQL's blocks: an index leads to the rest.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from django.db import models

from ...relations import stored
from ...relations.columns import underlying_field
from ...relations.relation import primary_key
from ..deleted import Deleted, Dense
from ..quoted import QuotedNames, names_of
from . import row_sql

if TYPE_CHECKING:
    from ...relations import Field

#: Primary keys in one block.
BLOCK = 256
#: The rows of an index that are judged by.
FIRST_ROWS = 1_000
#: With fewer rows of the key in a block, an index leads to them.
MIN_ROWS_PER_BLOCK = 2.0


def dense_blocks(field: Field, key: Any, using: str) -> Dense | None:
    """See `RowBackend.dense_blocks`."""
    pk = primary_key(field.model)
    is_number = isinstance(underlying_field(pk), models.IntegerField) and stored.keeps_integers(pk)
    if field.unique or not is_number or not row_sql.is_exact(field):
        return None
    table, name = names_of(field, using)["table"], _pk(field, using)
    # Without the hint, the server may walk through all rows in the order of the primary key.
    rows = f"{table} IGNORE INDEX (PRIMARY) WHERE {row_sql.condition_for_one(field, using)}"
    place = f"SELECT {name} FROM {rows} ORDER BY {name}"
    ends = ("LIMIT 1", f"LIMIT 1 OFFSET {FIRST_ROWS - 1}", "DESC LIMIT 1")
    sql = f"SELECT {', '.join(f'({place} {end})' for end in ends)}"
    ((first, later, last),) = row_sql.fetch(sql, [key] * 3, using)
    if later is None or later <= first:
        return None
    per_block = FIRST_ROWS * BLOCK / (later - first + 1)
    if per_block < MIN_ROWS_PER_BLOCK:
        return None
    return Dense(range(first // BLOCK, last // BLOCK + 1), per_block)


def delete_in_blocks(field: Field, key: Any, blocks: range, limit: int, using: str) -> Deleted:
    """See `RowBackend.delete_in_blocks`. Where there are more rows than `limit`, some are left."""
    sql, params = row_sql.delete_some(field, [key], limit, using, place=_place(field, using))
    number, _ = row_sql.execute(sql, [*params, *_ends(blocks)], using)
    return Deleted(Counter({key: number} if number else {}), (), str)


def lock_in_blocks(field: Field, key: Any, blocks: range, limit: int, using: str) -> dict[Any, Any]:
    """See `RowBackend.lock_in_blocks`."""
    table, pk = names_of(field, using)["table"], _pk(field, using)
    sql = (
        f"SELECT {pk} FROM {table} WHERE {row_sql.condition_for_one(field, using)}"
        f"{_place(field, using)} LIMIT {limit:d} FOR UPDATE SKIP LOCKED"
    )
    rows = row_sql.fetch(sql, [key, *_ends(blocks)], using)
    return dict.fromkeys((row for (row,) in rows), key)


def _pk(field: Field, using: str) -> str:
    pk = primary_key(field.model)
    return f"{names_of(field, using)['table']}.{QuotedNames(using, pk=pk.column)['pk']}"


def _place(field: Field, using: str) -> str:
    """Return the condition that a row is in some blocks. Its parameters are their `_ends`."""
    return f" AND {_pk(field, using)} BETWEEN %s AND %s"


def _ends(blocks: range) -> tuple[int, int]:
    return blocks.start * BLOCK, blocks.stop * BLOCK - 1
