"""What the role of a connection may do with a table."""

from __future__ import annotations

from django.db import connections


def may_delete(table: str, using: str) -> bool:
    """Return whether the role may see and delete rows of a table; True where roles are unknown."""
    connection = connections[using]
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        name = connection.ops.quote_name(table)
        cursor.execute(
            "SELECT has_table_privilege(%(name)s, 'DELETE')"
            " AND has_table_privilege(%(name)s, 'SELECT')",
            {"name": name},
        )
        ((allowed,),) = cursor.fetchall()
    return bool(allowed)
