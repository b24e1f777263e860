"""The distinct values of columns of the log, on MySQL and MariaDB.

They find the next value by the index only where the last one is a constant. So each step of Note
[From value to value] in backends/distinct.py is a statement of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ...relations import Model


def distinct(
    columns: Sequence[str], *sources: tuple[Model, str], using: str, most: int | None = None
) -> list[tuple[str, ...]]:
    """See `LogBackend.distinct`. One statement for each value and model."""
    rows = {row for model, condition in sources for row in _steps(columns, model, condition, using)}
    return sorted(rows)[:most]


def _steps(
    columns: Sequence[str], model: Model, condition: str, using: str
) -> Iterator[tuple[str, ...]]:
    """Yield the distinct values of up to two columns, each found by the one before it."""
    quote = connections[using].ops.quote_name
    table, names = quote(model._meta.db_table), [quote(column) for column in columns]
    listed = ", ".join(names)
    after, last = "", list[str]()
    while True:
        with connections[using].cursor() as cursor:
            cursor.execute(
                f"SELECT {listed} FROM {table} WHERE {condition}{after} ORDER BY {listed} LIMIT 1",
                last,
            )
            row = cursor.fetchone()
        if row is None:
            return
        yield tuple(map(str, row))
        first, *second = names
        following = f"{first} > %s"
        for name in second:
            following += f" OR ({first} = %s AND {name} > %s)"
        after, last = f" AND ({following})", [row[0], *(row if second else ())]
