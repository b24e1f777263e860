"""What the role of a connection may do with a table."""

from __future__ import annotations

from django.db import connections


def may_delete(table: str, using: str) -> bool:
    """Return whether the role may delete rows of that table; True where there are no roles."""
    connection = connections[using]
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        name = connection.ops.quote_name(table)
        cursor.execute("SELECT has_table_privilege(%s, 'DELETE')", [name])
        ((allowed,),) = cursor.fetchall()
    return bool(allowed)
