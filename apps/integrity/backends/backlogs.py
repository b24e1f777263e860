"""Whether child databases have open cascades, by the first rows of the log's indexes.

Note [The first rows]: anybody may call a health probe, and often, so its cost must not grow with
the backlog. Each question reads the first rows of one index, in its order: without an order, a
planner that expects many rows reads the table instead. PostgreSQL, SQLite, MariaDB and MySQL 8
understand the statement.
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

_CHILDREN = "WITH child (alias) AS ({aliases})"
_QUESTIONS = """
SELECT child.alias,
  (SELECT 1 FROM {table} WHERE database = child.alias
     AND state IN ('pending', 'running', 'waiting') ORDER BY due_at, id LIMIT 1),
  (SELECT 1 FROM {table} WHERE database = child.alias
     AND state = 'blocked' ORDER BY id LIMIT 1),
  (SELECT MAX(CASE WHEN tried.state = 'waiting' OR tried.attempts > 1 THEN 1 ELSE 0 END) FROM (
     SELECT state, attempts FROM {table} WHERE database = child.alias
     AND state IN ('pending', 'running', 'waiting') ORDER BY due_at, id LIMIT {first}) AS tried),
  (SELECT MAX(CASE WHEN done.since < %s THEN 1 ELSE 0 END) FROM (
     SELECT COALESCE(done_at, recorded_at) AS since FROM {table} WHERE database = child.alias
     AND state = 'done' ORDER BY due_at, id LIMIT {first}) AS done)
FROM child
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
    aliases = " UNION ALL ".join(["SELECT %s"] * len(databases))
    table = connection.ops.quote_name(Cascade._meta.db_table)
    sql = _CHILDREN.format(aliases=aliases) + _QUESTIONS.format(table=table, first=FIRST)
    moment = Cascade._meta.get_field("done_at").get_db_prep_value(done_before, connection)
    with connection.cursor() as cursor:
        cursor.execute(sql, [*databases, moment])
        return {alias: Backlog(*map(bool, answers)) for alias, *answers in cursor.fetchall()}
