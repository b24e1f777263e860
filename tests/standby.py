"""A standby of one of the sandbox's PostgreSQL servers, for the length of a block."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg

from sandbox import processes, servers
from sandbox.backups import base_backup

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def standby(primary: servers.PostgreSQL, name: str = "standby") -> Iterator[servers.PostgreSQL]:
    """Run a standby that streams from `primary` and serves reads."""
    shared, server = primary.installation, base_backup(primary, name, "-R")
    try:
        server.start().await_first_start()
        assert processes.eventually(lambda: _streams(server), timeout=30), server.log.read_text()
        yield server
    finally:
        processes.stop_all([server])
        processes.finish_all([shared.process(f"remove-{name}", "rm", "-rf", server.data)])


def replay(server: servers.PostgreSQL, *, paused: bool) -> None:
    """Pause or resume the replay on a standby."""
    verb = "pause" if paused else "resume"
    with psycopg.connect(server.url, autocommit=True) as session:
        session.execute(f"SELECT pg_wal_replay_{verb}()".encode())


def _streams(server: servers.PostgreSQL) -> bool:
    """Return whether the standby receives: only then does its primary name it."""
    with psycopg.connect(server.url, autocommit=True) as session:
        row = session.execute("SELECT status FROM pg_stat_wal_receiver").fetchone()
        return row == ("streaming",)
