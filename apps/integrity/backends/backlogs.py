"""Whether child databases have open cascades, by the first rows of the log's indexes.

Note [The first rows]: anybody may call a health probe, and often, so its cost must not grow with
the backlog. Each question reads the first rows of one index, in its order: without an order, a
planner that expects many rows reads the table instead. On MariaDB and MySQL, a subquery of a
subquery cannot refer to the outermost row. There, the statement repeats the questions for each
child database.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import connections

from ..models import Cascade

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

#: Cascades that are read: the ones that are done, or verified, next.
FIRST = 100

_QUESTIONS = """
SELECT {alias},
  (SELECT 1 FROM {table} WHERE {column} = {alias}
     AND state IN ('pending', 'running', 'waiting') ORDER BY due_at, id LIMIT 1),
  (SELECT 1 FROM {table} WHERE {column} = {alias}
     AND state = 'blocked' ORDER BY id LIMIT 1),
  (SELECT MAX(CASE WHEN tried.state = 'waiting' OR tried.attempts > 1 THEN 1 ELSE 0 END) FROM (
     SELECT state, attempts FROM {table} WHERE {column} = {alias}
     AND state IN ('pending', 'running', 'waiting') ORDER BY due_at, id LIMIT {first}) AS tried),
  (SELECT MAX(CASE WHEN done.since < %s THEN 1 ELSE 0 END) FROM (
     SELECT COALESCE(done_at, recorded_at) AS since FROM {table} WHERE {column} = {alias}
     AND state = 'done' ORDER BY due_at, id LIMIT {first}) AS done)
"""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Whether a child database has cascades to do, blocked ones, or some done before a moment.

    `failing` is whether some of those that are to do next have failed before.
    """

    waiting: bool
    blocked: bool
    failing: bool
    overdue: bool


def backlogs(
    databases: Sequence[str], done_before: dt.datetime, *, using: str
) -> dict[str, Backlog]:
    """Return the backlog of each of those child databases in one log. One statement."""
    if not databases:
        return {}
    connection = connections[using]
    moment = Cascade._meta.get_field("done_at").get_db_prep_value(done_before, connection)
    if connection.vendor == "mysql":
        sql = " UNION ALL ".join([_questions("%s", using)] * len(databases))
        params = [each for alias in databases for each in (*[alias] * 4, moment, alias)]
    else:
        aliases = " UNION ALL ".join(["SELECT %s"] * len(databases))
        children = f"WITH child (alias) AS ({aliases})"
        sql, params = (
            f"{children} {_questions('child.alias', using)} FROM child",
            [*databases, moment],
        )
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return {alias: Backlog(*map(bool, answers)) for alias, *answers in cursor.fetchall()}


def _questions(alias: str, using: str) -> str:
    """Return the SELECT of the answers for one child database; `alias` is SQL for its name."""
    quote = connections[using].ops.quote_name
    table, column = quote(Cascade._meta.db_table), quote("database")
    return _QUESTIONS.format(alias=alias, table=table, column=column, first=FIRST)
