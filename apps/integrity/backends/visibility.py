"""Whether a read sees every row of a table. A row that a filtered read leaves out may exist.

Note [Filtered reads]: a row that a read returns exists. A row that it does not return is gone only
if the server hides none. Row level security hides rows without an error; so does a view, a
temporary table of the same name, or a standby that is behind. Where a read decides about rows, the
server says in the same statement whether any of these applies. If one does, the read raises
`FilteredRead`, and nothing is concluded from it.

Note [In the same statement]: row security can be switched on between two statements, and a pooler
may run them in two sessions. A running statement holds a lock on its table that prevents both. The
ORM's queries cannot contain that question, so they run in a transaction (`whole`): their lock lasts
until the question after them is answered.

Foreign tables count as tables: what their server hides cannot be seen from here.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction

from ..exceptions import FilteredRead

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from django.db.models import Model

#: Tables, partitioned tables and foreign tables.
KINDS = "('r', 'p', 'f')"
#: Why PostgreSQL may hide rows of the table `shown` from this session; NULL where it does not.
CAUSE = (
    "CASE WHEN shown.relpersistence = 't' THEN 'temporary'"
    f" WHEN shown.relkind NOT IN {KINDS} THEN 'view'"
    " WHEN pg_catalog.row_security_active(shown.oid) THEN 'row security'"
    " WHEN pg_catalog.pg_is_in_recovery() THEN 'standby' END"
)
SHOWN = "pg_catalog.pg_class AS shown WHERE shown.oid"

#: The reason and the remedy for each cause, after the table's name. Takes the role.
WORDS = {
    "row security": (
        "row level security hides rows from the role {role}. Nothing was concluded from what it"
        " does not show. As a superuser: ALTER ROLE {role} BYPASSRLS; or let the role own the"
        " table, without FORCE ROW LEVEL SECURITY. No policy will do, not even USING (true)"
    ),
    "view": (
        "it is a view, which may hide rows. Nothing was concluded from what it does not show. Let"
        " the model name the table itself (Meta.db_table)"
    ),
    "temporary": (
        "a temporary table of that name hides it. Drop it, and give sessions that make temporary"
        " tables a pool of their own"
    ),
    "standby": "the server is a standby, which may be behind. Let the alias point to the primary",
    "statements": (
        "the server's binlog_format is STATEMENT, so erasure steps might read older values than"
        " those that go. Nothing was changed. Set it to ROW or MIXED, and restart the workers"
    ),
    "engine": (
        "its storage engine is not InnoDB: a step there could not be taken back, and rows that"
        " another session is writing are not waited for. ALTER TABLE … ENGINE=InnoDB"
    ),
    "dirty": (
        "its sessions are READ UNCOMMITTED, which shows deletes that may be rolled back. Nothing"
        " was concluded from it. Leave isolation_level out of the alias's OPTIONS, or set it to"
        ' "read committed"'
    ),
}
#: Causes that only hide rows: a row that is returned exists for certain.
ONLY_HIDES = frozenset({"row security", "standby"})

#: Seconds for which the list of a server's views is kept, where asking costs a round trip.
LISTED_SECONDS = 60.0
_listed: dict[str, tuple[float, dict[str, str]]] = {}


def cause_for(model: type[Model], using: str) -> tuple[str, str]:
    """Return SQL for a column that is NULL where the server hides no row, and its parameter."""
    return f"(SELECT {CAUSE} FROM {SHOWN} = %s::regclass)", _quoted(model, using)


def guard(model: type[Model], using: str) -> tuple[str, str]:
    """Return SQL that ends a statement of one column, and its parameter: see `without_guard`."""
    return (
        f" UNION ALL SELECT NULL FROM {SHOWN} = %s::regclass AND {CAUSE} IS NOT NULL",
        _quoted(model, using),
    )


def without_guard(
    values: list[Any], model: type[Model], using: str, *, every: int | None = None
) -> list[Any]:
    """Return the values of a statement with a `guard`; its own values are never NULL.

    Raises `FilteredRead` where the server may hide rows. But not where the values are `every` one
    that was sought, and the cause can only hide rows.
    """
    if None not in values:
        return values
    seen = [value for value in values if value is not None]
    cause, role = _cause(model, using)
    if len(seen) != every or cause not in ONLY_HIDES:
        raise refusal(model, using, cause, role)
    return seen


def refusal(
    model: type[Model], using: str, cause: str | None = None, role: str = ""
) -> FilteredRead:
    """Return the error for a table that a read saw only a part of."""
    if not role:
        cause, role = _cause(model, using)
    # The cause is None where it has just been removed.
    why = WORDS[cause or "row security"].format(role=role)
    return FilteredRead(model._meta.db_table, using, why)


def reason(model: type[Model], using: str) -> str:
    """Return why rows of the model's table may be hidden in `using`, and the remedy; or ""."""
    cause, role = _cause(model, using)
    return WORDS[cause].format(role=role) if cause else ""


def causes(models: Iterable[type[Model]], using: str) -> dict[type[Model], tuple[str, str]]:
    """Return cause and `reason` for those of `models` whose rows may be hidden. One query."""
    tables = {_quoted(model, using): model for model in models}
    answers: list[tuple[str, str, str | None]]
    if connections[using].vendor == "postgresql":
        answers = _ask(list(tables), using)
    else:
        answers = [("itself", table, _cause(model, using)[0]) for table, model in tables.items()]
    return {
        tables[name]: (cause, WORDS[cause].format(role=role))
        for role, name, cause in answers
        if cause
    }


def secured(models: Iterable[type[Model]], using: str) -> list[str]:
    """Return the tables with row security, for whatever roles. PostgreSQL only."""
    if connections[using].vendor != "postgresql":
        return []
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"SELECT shown.relname FROM {SHOWN} = ANY(SELECT pg_catalog.to_regclass(name)::oid"
            " FROM unnest(%s::text[]) AS wanted (name)) AND shown.relrowsecurity ORDER BY 1",
            [[_quoted(model, using) for model in models]],
        )
        return [name for (name,) in cursor.fetchall()]


def rules(models: Iterable[type[Model]], using: str) -> list[tuple[type[Model], str]]:
    """Return the rules for DELETE or UPDATE of those tables, each with its model."""
    tables = {_quoted(model, using): model for model in models}
    if connections[using].vendor != "postgresql":
        return []
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT wanted.name, pg_catalog.quote_ident(rulename) FROM pg_catalog.pg_rewrite,"
            " unnest(%s::text[]) AS wanted (name) WHERE ev_type IN ('2', '4') AND ev_enabled <> 'D'"
            " AND ev_class = pg_catalog.to_regclass(wanted.name) ORDER BY 1, 2",
            [list(tables)],
        )
        return [(tables[name], rule) for name, rule in cursor.fetchall()]


@contextlib.contextmanager
def whole(using: str, *models: type[Model]) -> Iterator[None]:
    """Raise `FilteredRead` after the ORM's reads inside, where rows of `models` may be hidden.

    On PostgreSQL the block is a transaction, or a part of the caller's. See Note [In the same
    statement].
    """
    connection = connections[using]
    begin = connection.vendor == "postgresql" and not connection.in_atomic_block
    with transaction.atomic(using=using) if begin else contextlib.nullcontext():
        yield
        require_whole(using, *models)


def require_whole(using: str, *models: type[Model]) -> None:
    """Raise `FilteredRead` where rows of those models may be hidden.

    On PostgreSQL, call it in the transaction of the read: see `whole`.
    """
    for model in models:
        cause, role = _cause(model, using)
        if cause:
            raise refusal(model, using, cause, role)


def _cause(model: type[Model], using: str) -> tuple[str | None, str]:
    """Return the cause for which rows may be hidden, None for none, and the role."""
    connection = connections[using]
    if connection.vendor == "postgresql":
        role, _, cause = next(iter(_ask([_quoted(model, using)], using)), ("", "", None))
        return cause, role
    name = str(connection.introspection.identifier_converter(model._meta.db_table)).strip('"')
    if connection.vendor != "sqlite":
        listed = _listed_causes(using)
        return listed.get(name, listed.get("", None)), "itself"
    with connection.cursor() as cursor:  # not kept: it costs no round trip
        cursor.execute(
            "SELECT 1 FROM sqlite_temp_master WHERE name = %s COLLATE NOCASE UNION ALL"
            " SELECT 1 FROM sqlite_master WHERE name = %s COLLATE NOCASE AND type = 'view'",
            [name] * 2,
        )
        return "view" if cursor.fetchone() else None, "itself"


def _ask(tables: list[str], using: str) -> list[tuple[str, str, str | None]]:
    """Return the role, the table and the cause, for tables that exist. PostgreSQL only."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"SELECT pg_catalog.quote_ident(current_user), wanted.name, {CAUSE}"
            f" FROM unnest(%s::text[]) AS wanted (name), {SHOWN}"
            " = pg_catalog.to_regclass(wanted.name)",
            [tables],
        )
        return list(cursor.fetchall())


def _listed_causes(using: str) -> dict[str, str]:
    """Return table → cause as the server lists them, asked once in `LISTED_SECONDS`.

    A cause of all tables has the name "".
    """
    until, found = _listed.get(using, (0.0, {}))
    if time.monotonic() >= until:
        connection = connections[using]
        if connection.vendor == "mysql":
            found = _causes_on_mysql(using)
        else:
            with connection.cursor() as cursor:
                tables = connection.introspection.get_table_list(cursor)
            convert = connection.introspection.identifier_converter
            found = {convert(table.name): "view" for table in tables if table.type == "v"}
        _listed[using] = (time.monotonic() + LISTED_SECONDS, found)
    return found


def _causes_on_mysql(using: str) -> dict[str, str]:
    connection: Any = connections[using]
    level = "tx_isolation" if connection.mysql_is_mariadb else "transaction_isolation"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT @@{level}")
        (isolation,) = cursor.fetchone()
        cursor.execute(
            "SELECT table_name, table_type = 'BASE TABLE' FROM information_schema.tables"
            " WHERE table_schema = DATABASE()"
            " AND (table_type <> 'BASE TABLE' OR engine <> 'InnoDB')"
        )
        found = {name: "engine" if is_table else "view" for name, is_table in cursor.fetchall()}
    return found | ({"": "dirty"} if isolation == "READ-UNCOMMITTED" else {})


def _quoted(model: type[Model], using: str) -> str:
    """Return the table's quoted name, for a cast to regclass."""
    return str(connections[using].ops.quote_name(model._meta.db_table))
