"""How many connections a server takes."""

from __future__ import annotations

from django.db import connections

#: By engine.
MAX_CONNECTIONS = {
    "postgresql": "SELECT setting::int FROM pg_catalog.pg_settings WHERE name = 'max_connections'",
    "mysql": "SELECT @@max_connections",
}


def max_connections(using: str) -> int | None:
    """Return how many connections the server of that alias takes; None where none is a server."""
    connection = connections[using]
    if connection.vendor not in MAX_CONNECTIONS:
        return None
    with connection.cursor() as cursor:
        cursor.execute(MAX_CONNECTIONS[connection.vendor])
        return int(cursor.fetchone()[0])
