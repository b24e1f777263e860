"""Privileges on tables and columns, and the GRANT statements for PostgreSQL. No queries."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import connections

from ...exceptions import InvalidRole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ...relations import Field, Model


class Privilege(enum.StrEnum):
    """The privileges that are granted; never TRUNCATE, REFERENCES or TRIGGER."""

    SELECT = "SELECT"
    INSERT = "INSERT"
    UPDATE = "UPDATE"
    DELETE = "DELETE"


SELECT, INSERT, UPDATE, DELETE = Privilege

#: Names that PostgreSQL does not treat as a role, even if quoted, or that readers take for all
#: roles or for their own.
NO_ROLES = frozenset(
    {"public", "none", "all", "user", "current_user", "session_user", "current_role", "system_user"}
)
#: The prefix of PostgreSQL's own roles: all of their members would get the privileges.
RESERVED = "pg_"
#: PostgreSQL truncates longer names, and would grant to another role.
ROLE_BYTES = 63
#: The physical place of a row, by which the statements select rows. It tells none of its values.
CTID = "ctid"


@dataclass(frozen=True, slots=True)
class Need:
    """A privilege on a table in one database, or on one `column` of it."""

    database: str
    table: str
    privilege: Privilege
    column: str = ""


def require_role(role: str) -> None:
    """Raise `InvalidRole` if the name is not that of one ordinary role."""
    if not role.strip():
        raise InvalidRole(role, "a role has a name")
    if role.strip().strip('"').casefold() in NO_ROLES:
        raise InvalidRole(role, "it means everybody, or the current user")
    if role.casefold().startswith(RESERVED):
        raise InvalidRole(role, "roles of that prefix are PostgreSQL's own, and have other members")
    if not role.isprintable():
        raise InvalidRole(role, "it has characters that cannot be printed")
    if len(role.encode(errors="replace")) > ROLE_BYTES:
        raise InvalidRole(
            role, f"PostgreSQL cuts names after {ROLE_BYTES} bytes: another role would be meant"
        )


def quoted(role: str) -> str:
    """Return the role's name as SQL. `quote_name` does not quote a quoted name again."""
    return '"{}"'.format(role.replace('"', '""'))


def on(database: str, model: Model, *privileges: Privilege) -> Iterator[Need]:
    """Yield the needs for those privileges on the whole table of a model."""
    for privilege in privileges:
        yield Need(database, model._meta.db_table, privilege)


def column(database: str, field: Field, privilege: Privilege) -> Need:
    """Return the need for that privilege on the field's column."""
    return Need(database, field.model._meta.db_table, privilege, str(field.column))


def statements(role: str, needs: Iterable[Need], using: str) -> Iterator[str]:
    """Yield the GRANT statements of one database: one for each named schema and for each table."""
    wanted, quote = set(needs), connections[using].ops.quote_name
    tables = sorted({need.table for need in wanted})
    for schema in sorted({schema for table in tables if (schema := _schema_of(quote(table)))}):
        yield f"GRANT USAGE ON SCHEMA {schema} TO {quoted(role)};"
    for table in tables:
        yield f"GRANT {_privileges(wanted, table, using)} ON {quote(table)} TO {quoted(role)};"


def _schema_of(table: str) -> str:
    """Return the quoted schema of a quoted name such as `"crm"."contact"`; "" if it has none."""
    parts = re.findall(r'"(?:[^"]|"")*"', table)
    return parts[0] if len(parts) > 1 else ""


def _privileges(needs: Iterable[Need], table: str, using: str) -> str:
    """Return the privileges, such as `SELECT, DELETE, UPDATE ("id")`.

    A privilege on the table replaces the same privilege on its columns.
    """
    words, quote = [], connections[using].ops.quote_name
    for privilege in Privilege:
        columns = {
            need.column for need in needs if (need.table, need.privilege) == (table, privilege)
        }
        if "" in columns:
            words.append(str(privilege))
        elif columns:
            words.append(f"{privilege} ({', '.join(map(quote, sorted(columns)))})")
    return ", ".join(words)
