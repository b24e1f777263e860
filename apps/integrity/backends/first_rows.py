"""The first rows of each child database in the log, in one statement.

Note [One statement for all]: whoever asks for each database by itself sends as many statements as
there are databases. GROUP BY would read all rows. Here each database gets a search of its own in an
index, which ends after its first rows: a join with LATERAL on PostgreSQL, which plans it once; a
UNION ALL elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.models.expressions import RawSQL
from django.db.models.sql.datastructures import BaseTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet

    from ..models import Cascade


class _Picked(BaseTable):
    """A subquery in place of a table, under the same name."""

    def __init__(self, name: str, sql: str, params: Sequence[Any]) -> None:
        super().__init__(name, name)
        self._sql, self._params = sql, params

    def as_sql(self, _compiler: Any, connection: Any) -> Any:
        return f"({self._sql}) {connection.ops.quote_name(self.table_alias)}", [*self._params]


def first_rows(
    rows: QuerySet[Cascade], databases: Sequence[str], most: int, *columns: str
) -> QuerySet[Cascade]:
    """Return the first `most` of the ordered rows of each database, to be read or added up.

    They have the database and those columns.
    """
    if not databases:
        return rows.none()
    names = ("database", *columns)
    if connections[rows.db].vendor == "postgresql":
        sql, params = _compiled(rows, RawSQL("child.alias", ()), most, names)
        sql = (
            "SELECT picked.* FROM unnest(%s::text[]) AS child (alias)"
            f" CROSS JOIN LATERAL ({sql}) AS picked"
        )
        params = [list(databases), *params]
    else:
        each = [_compiled(rows, alias, most, names) for alias in databases]
        parts = (f"SELECT * FROM ({part}) AS part{number}" for number, (part, _) in enumerate(each))
        sql, params = " UNION ALL ".join(parts), [value for _, values in each for value in values]
    picked = type(rows)(model=rows.model, using=rows.db)
    table = str(picked.query.get_initial_alias())
    picked.query.alias_map[table] = _Picked(table, sql, params)
    return picked


def _compiled(
    rows: QuerySet[Cascade], database: Any, most: int, columns: Sequence[str]
) -> tuple[str, list[Any]]:
    chosen = rows.filter(database=database).values_list(*columns)[:most]
    sql, params = chosen.query.get_compiler(rows.db).as_sql()
    return sql, [*params]


def have_rows(*asked: QuerySet[Any], using: str) -> list[bool]:
    """Return which of those ordered querysets have a row. One statement.

    Each is a search in an index that ends after its first row. EXISTS would ignore the order, and a
    planner that expects many rows would read the table.
    """
    found = [rows.values_list("pk")[:1].query.get_compiler(using).as_sql() for rows in asked]
    with connections[using].cursor() as cursor:
        questions = ", ".join(f"({sql}) IS NOT NULL" for sql, _ in found)
        cursor.execute(f"SELECT {questions}", [value for _, values in found for value in values])
        return [bool(answer) for answer in cursor.fetchone()]
