"""Make a database refuse connections for a while."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from django.db import connections
from psycopg import sql

from sandbox.environment import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.servers import PostgreSQL


@contextmanager
def refusing(alias: str, server: PostgreSQL | None = None) -> Iterator[None]:
    """Make the database of `alias` end its connections and refuse new ones during the block.

    The superuser of its `server` may end other roles' sessions. Without it, the URL of the
    environment is used.
    """
    url = server.url if server else os.environ[VARIABLES[alias]]
    connections[alias].close()
    try:
        _allow(alias, url, allowed=False)
        yield
    finally:
        _allow(alias, url, allowed=True)


def _allow(alias: str, url: str, *, allowed: bool) -> None:
    name = str(connections[alias].settings_dict["NAME"])
    # This also works on servers that the demo did not start and must not stop.
    with psycopg.connect(url, dbname="postgres", autocommit=True) as session:
        session.execute(
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(
                sql.Identifier(name), sql.SQL("true" if allowed else "false")
            )
        )
        if not allowed:
            session.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )
