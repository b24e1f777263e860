"""Standbys of the sandbox's PostgreSQL servers: they need no program beside PostgreSQL's own."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg

from tests.standby import replay, standby

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.servers import PostgreSQL

__all__ = ["paused", "promote", "standby"]


@contextmanager
def paused(server: PostgreSQL) -> Iterator[None]:
    """Let the standby fall behind during the block: it shows what was committed before."""
    replay(server, paused=True)
    try:
        yield
    finally:
        replay(server, paused=False)


def promote(server: PostgreSQL) -> None:
    """Make the standby a primary, and wait until it takes writes."""
    with psycopg.connect(server.url, autocommit=True) as session:
        row = session.execute("SELECT pg_promote(true, 60)").fetchone()
        assert row == (True,), "it was not promoted in time"
