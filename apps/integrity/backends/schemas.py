"""Whether a statement names the parents' own table, or one of that name in another schema.

One alias can lead to several schemas: django-tenants sets the search path for each tenant. A user
deleted from a tenant's schema is not the user with that key in the shared schema. The parents' own
table is the one in the schema of the deletion log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connections

if TYPE_CHECKING:
    from django.db.models import Model

_SCHEMA = "SELECT relnamespace FROM pg_catalog.pg_class WHERE oid"
_LOG = f"{_SCHEMA} = to_regclass('integrity_deletion')"


def beside_log(parent: type[Model], using: str) -> tuple[str, str]:
    """Return a condition that is true for the parents' own table, and its parameter."""
    return f"({_SCHEMA} = to_regclass(%s)) = ({_LOG})", _quoted(parent, using)


def elsewhere(parent: type[Model], using: str) -> tuple[str, str] | None:
    """Return the schemas of the parent's table and of the log, where they differ. One query.

    Return None where they are the same, where one is missing, and on engines without schemas.
    """
    if connections[using].vendor != "postgresql":
        return None
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"SELECT ({_SCHEMA} = to_regclass(%s))::regnamespace::text,"
            f" ({_LOG})::regnamespace::text",
            [_quoted(parent, using)],
        )
        schema, of_log = cursor.fetchone()
    return (schema, of_log) if None not in (schema, of_log) and schema != of_log else None


def switches(using: str) -> bool:
    """Return whether the alias's backend leads to other schemas at run time."""
    return any(hasattr(connections[using], name) for name in ("set_tenant", "set_schema"))


def _quoted(model: type[Model], using: str) -> str:
    return connections[using].ops.quote_name(model._meta.db_table)
