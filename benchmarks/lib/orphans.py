"""Parents with gaps and children with orphans, the same in every database, made by the servers.

Of each 20 parents one is missing. Children point to parents as rows of a busy site do: 4 of 10 to
any parent, the others to few of them (the busiest gets about 3 % of all). 1 of 1,000 is an orphan.
"""

# ruff: noqa: S608 - names come from models

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import connections

if TYPE_CHECKING:
    from django.db.models import Model

#: One parent of so many is missing.
BLOCK = 20
UNIFORM, ORPHANS = 0.4, 0.001
#: Spreads the busy parents over the table: a prime that divides no number of parents.
STRIDE = 2_654_435_761
BATCH = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """A parent, its child, and their sizes; `key` makes a parent's key of its number, in SQL."""

    parent: type[Model]
    child: type[Model]
    parents: int
    children: int
    key: str = "number + 1"

    @property
    def label(self) -> str:
        """The relation's."""
        return f"{self.child._meta.label}.parent"

    @property
    def names(self) -> tuple[str, str]:
        """The tables: the parent's, the child's."""
        return self.parent._meta.db_table, self.child._meta.db_table


def load(tables: Tables, parents: str, children: str) -> None:
    """Make and fill both tables, each in its database, and leave them vacuumed."""
    _make(tables.parent, parents, _parents(tables))
    _make(tables.child, children, _children(tables))


def copy(tables: Tables, source: tuple[str, str], target: tuple[str, str]) -> None:
    """Make both tables in other databases, with the rows of the first ones."""
    for model, old, new in zip((tables.parent, tables.child), source, target, strict=True):
        table = model._meta.db_table
        with connections[new].schema_editor() as editor, connections[new].cursor() as cursor:
            editor.create_model(model)
            with connections[old].chunked_cursor() as rows:
                rows.execute(f"SELECT * FROM {table}")
                while batch := rows.fetchmany(BATCH):
                    marks = ", ".join("%s" for _ in batch[0])
                    cursor.executemany(f"INSERT INTO {table} VALUES ({marks})", batch)
        with connections[new].cursor() as cursor:
            cursor.execute("ANALYZE")


def _make(model: type[Model], alias: str, rows: str) -> None:
    """The editor makes the index of the key at the end, when the rows are there."""
    connection = connections[alias]
    with connection.schema_editor() as editor, connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {model._meta.db_table}")
        editor.create_model(model)
        cursor.execute(f"INSERT INTO {model._meta.db_table} {rows}")
    with connection.cursor() as cursor:
        cursor.execute(f"VACUUM (ANALYZE) {model._meta.db_table}")


def _parents(tables: Tables) -> str:
    return (
        f"SELECT {tables.key}, 'parent ' || number"
        f" FROM generate_series(0::bigint, {tables.parents - 1}) AS number"
        f" WHERE number % {BLOCK} <> {_gap(f'number / {BLOCK}')}"
    )


def _children(tables: Tables) -> str:
    count = tables.parents
    chance = _random("row", 2)
    drawn = (
        f"CASE WHEN {_random('row', 1)} < {UNIFORM} THEN floor({chance} * {count})::bigint"
        f" ELSE floor(exp({chance} * ln({count}::float)))::bigint * {STRIDE} % {count} END"
    )
    slot = (
        f"CASE WHEN {_random('row', 3)} < {ORPHANS} THEN gap"
        f" WHEN slot = gap THEN (slot + 1) % {BLOCK} ELSE slot END"
    )
    return (
        f"SELECT row, {tables.key}, 'title of row ' || row FROM"
        f" (SELECT row, block * {BLOCK} + {slot} AS number FROM"
        f" (SELECT row, drawn / {BLOCK} AS block, drawn % {BLOCK} AS slot,"
        f" {_gap(f'drawn / {BLOCK}')} AS gap FROM"
        f" (SELECT row, {drawn} AS drawn FROM generate_series(1::bigint, {tables.children}) AS row"
        f" OFFSET 0) AS one OFFSET 0) AS two) AS three"
    )


def _gap(block: str) -> str:
    """Which parent of a block is missing."""
    return f"((hashint8extended({block}, 7) & 1048575) % {BLOCK})"


def _random(number: str, seed: int) -> str:
    """From 0 to below 1, and the same in every run."""
    return f"((hashint8extended({number}, {seed}) & 4503599627370495)::float / 4503599627370496)"
