"""A database that refuses connections for a while, as far as its clients can tell."""

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


@contextmanager
def refusing(alias: str, superuser: str | None = None) -> Iterator[None]:
    """Make the database of `alias` end its connections and refuse new ones, for the block.

    Ending the sessions of others takes a `superuser`: its URL, or else the environment's.
    """
    url = superuser or os.environ[VARIABLES[alias]]
    connections[alias].close()
    try:
        _allow(alias, url, allowed=False)
        yield
    finally:
        _allow(alias, url, allowed=True)


def _allow(alias: str, url: str, *, allowed: bool) -> None:
    name = str(connections[alias].settings_dict["NAME"])
    # Works on a server of somebody else, too, where stopping it is not ours to do.
    with psycopg.connect(url, dbname="postgres", autocommit=True) as other:
        other.execute(
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(
                sql.Identifier(name), sql.SQL("true" if allowed else "false")
            )
        )
        if not allowed:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )
