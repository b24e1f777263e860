"""The vocabulary of rights: a privilege on a table or a column, and the GRANT that gives it.

Takes needs; gives SQL for PostgreSQL. Asks no database.
"""

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
    """What may be granted here. TRUNCATE, REFERENCES and TRIGGER never are."""

    SELECT = "SELECT"
    INSERT = "INSERT"
    UPDATE = "UPDATE"
    DELETE = "DELETE"


SELECT, INSERT, UPDATE, DELETE = Privilege

#: Names that are no role of their own to PostgreSQL, even quoted, or that somebody takes for
#: everybody or for himself.
NO_ROLES = frozenset(
    {"public", "none", "all", "user", "current_user", "session_user", "current_role", "system_user"}
)
#: How the names of PostgreSQL's own roles begin: whoever is a member would get the privileges.
RESERVED = "pg_"
#: PostgreSQL cuts longer names, and would grant to another role.
ROLE_BYTES = 63
#: Where a row is. It takes no value of a row, and the statements pick rows by it.
CTID = "ctid"


@dataclass(frozen=True, slots=True)
class Need:
    """One privilege on a table in one database; on one of its columns, where named."""

    database: str
    table: str
    privilege: Privilege
    column: str = ""


def require_role(role: str) -> None:
    """Raise `InvalidRole` for what is no role of its own, or another one than it seems."""
    if not role.strip():
        raise InvalidRole(role, "a role has a name")
    if role.strip().strip('"').casefold() in NO_ROLES:
        raise InvalidRole(role, "it stands for everybody, or for whoever is logged in")
    if role.casefold().startswith(RESERVED):
        raise InvalidRole(role, "roles of that prefix are PostgreSQL's own, and have other members")
    if not role.isprintable():
        raise InvalidRole(role, "it has characters that cannot be printed")
    if len(role.encode(errors="replace")) > ROLE_BYTES:
        raise InvalidRole(
            role, f"PostgreSQL cuts names after {ROLE_BYTES} bytes: another role would be meant"
        )


def quoted(role: str) -> str:
    """Return the role's name as SQL. Not by `quote_name`, which lets a quoted name pass."""
    return '"{}"'.format(role.replace('"', '""'))


def on(database: str, model: Model, *privileges: Privilege) -> Iterator[Need]:
    """Those privileges on the whole table of a model."""
    for privilege in privileges:
        yield Need(database, model._meta.db_table, privilege)


def column(database: str, field: Field, privilege: Privilege) -> Need:
    """That privilege on the field's column."""
    return Need(database, field.model._meta.db_table, privilege, str(field.column))


def statements(role: str, needs: Iterable[Need], using: str) -> Iterator[str]:
    """The GRANTs of one database, a line for each table, and for each schema that is named."""
    wanted, quote = set(needs), connections[using].ops.quote_name
    tables = sorted({each.table for each in wanted})
    for schema in sorted({schema for table in tables if (schema := _schema_of(quote(table)))}):
        yield f"GRANT USAGE ON SCHEMA {schema} TO {quoted(role)};"
    for table in tables:
        yield f"GRANT {_privileges(wanted, table, using)} ON {quote(table)} TO {quoted(role)};"


def _schema_of(table: str) -> str:
    """The schema of a name as SQL, as in `"crm"."contact"`; or "". It is quoted, too."""
    parts = re.findall(r'"(?:[^"]|"")*"', table)
    return parts[0] if len(parts) > 1 else ""


def _privileges(needs: Iterable[Need], table: str, using: str) -> str:
    """As in `SELECT, DELETE, UPDATE ("id")`; a column is left out where the table is granted."""
    words, quote = [], connections[using].ops.quote_name
    for privilege in Privilege:
        columns = {
            each.column for each in needs if (each.table, each.privilege) == (table, privilege)
        }
        if "" in columns:
            words.append(str(privilege))
        elif columns:
            words.append(f"{privilege} ({', '.join(map(quote, sorted(columns)))})")
    return ", ".join(words)
