"""The distinct values of columns of the log, without reading every row.

Note [From value to value]: DISTINCT reads every row. Here each step of a recursive query asks an
index for the next value, so the cost grows with the values and not with the rows. (MySQL has a form
of its own: mysql/distinct.py.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..relations import Model


def distinct(
    columns: Sequence[str], *sources: tuple[Model, str], using: str, most: int | None = None
) -> list[tuple[str, ...]]:
    """See `LogBackend.distinct`. One statement."""
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
