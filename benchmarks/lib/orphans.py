"""Generate parents with gaps and children with orphans, the same in every run.

One of 20 parents is missing. 40 % of the children are distributed evenly over the parents, the
others over few of them, as on a busy site: the busiest parent has about 3 % of all children. One
child of 1,000 is an orphan.
"""

# ruff: noqa: S608 - names come from models

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import connections

if TYPE_CHECKING:
    from django.db.models import Model

#: One parent of this many is missing.
BLOCK = 20
UNIFORM, ORPHANS = 0.4, 0.001
#: Spreads the busy parents over the table. A prime, so that it divides no number of parents.
STRIDE = 2_654_435_761
BATCH = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """A parent, its child, and their sizes. `key` is the SQL that computes a parent's key."""

    parent: type[Model]
    child: type[Model]
    parents: int
    children: int
    key: str = "number + 1"

    @property
    def label(self) -> str:
        """The label of the relation."""
        return f"{self.child._meta.label}.parent"

    @property
    def names(self) -> tuple[str, str]:
        """The tables of the parent and the child."""
        return self.parent._meta.db_table, self.child._meta.db_table


def load(tables: Tables, parents: str, children: str) -> None:
    """Create, fill and vacuum both tables, each in its database."""
    _make(tables.parent, parents, _parents(tables))
    _make(tables.child, children, _children(tables))


def copy(tables: Tables, source: tuple[str, str], target: tuple[str, str]) -> None:
    """Copy both tables with their rows to other databases."""
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
    """Create and fill a table. The schema editor creates the index after the rows."""
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
    """Return SQL for the position of a block's missing parent."""
    return f"((hashint8extended({block}, 7) & 1048575) % {BLOCK})"


def _random(number: str, seed: int) -> str:
    """Return SQL for a pseudo-random number from 0 to below 1, the same in every run."""
    return f"((hashint8extended({number}, {seed}) & 4503599627370495)::float / 4503599627370496)"
