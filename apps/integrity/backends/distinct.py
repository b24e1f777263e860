"""The distinct values of columns of the log, without reading every row.

Note [From value to value]: DISTINCT reads every row. Here each step of a recursive query asks an
index for the next value, so the cost grows with the values and not with the rows. MySQL and MariaDB
find the next value by the index only where the last one is a constant. There, each step is a
statement of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..relations import Model


def distinct(
    columns: Sequence[str], *sources: tuple[Model, str], using: str, most: int | None = None
) -> list[tuple[str, ...]]:
    """Return the distinct values of `columns` in rows of each model that meet its condition.

    With `most`, return no more than so many.

    Conditions are our own SQL, written as in the condition of the index. One statement, but on
    MySQL and MariaDB one for each value and model.
    """
    if connections[using].vendor == "mysql":
        rows = {
            row for model, condition in sources for row in _steps(columns, model, condition, using)
        }
        return sorted(rows)[:most]
    quote = connections[using].ops.quote_name
    names = [quote(column) for column in columns]
    listed = ", ".join(names)
    steps, results = [], []
    for number, (model, condition) in enumerate(sources):
        seen, table = f"seen{number}", quote(model._meta.db_table)
        after = f"({listed}) > ({', '.join(f'{seen}.{name}' for name in names)})"
        first = [_next(name, table, condition, listed) for name in names]
        following = [_next(name, table, f"{condition} AND {after}", listed) for name in names]
        steps.append(
            f"{seen} ({listed}) AS (SELECT {', '.join(first)} UNION ALL"
            f" SELECT {', '.join(following)} FROM {seen} WHERE {seen}.{names[0]} IS NOT NULL)"
        )
        results.append(f"SELECT {listed} FROM {seen} WHERE {names[0]} IS NOT NULL")
    with connections[using].cursor() as cursor:
        limit = "" if most is None else f" LIMIT {int(most)}"
        cursor.execute(f"WITH RECURSIVE {', '.join(steps)} {' UNION '.join(results)}{limit}")
        return [tuple(map(str, row)) for row in cursor.fetchall()]


def _next(name: str, table: str, condition: str, order: str) -> str:
    return f"(SELECT {name} FROM {table} WHERE {condition} ORDER BY {order} LIMIT 1)"


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
