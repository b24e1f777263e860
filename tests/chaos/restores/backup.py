"""A base backup of a running server, the WAL since, and the server put back to them in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from sandbox import servers
from sandbox.backups import base_backup
from sandbox.processes import ProcessError, eventually, finish_all, stop_all

if TYPE_CHECKING:
    from sandbox.processes import Process


class Backup:
    """One backup of one server. Between it and its restore point, the WAL is received as well."""

    def __init__(self, server: servers.PostgreSQL, name: str) -> None:
        """Make it now."""
        self.server, self.name, self.is_marked = server, name, False
        self.data = base_backup(server, name).data
        shared = server.installation
        self.wal = shared.place / f"{name}-wal"
        self._run(f"{name}-mkdir", "mkdir", "-m", "700", str(self.wal))
        self.receiver: Process = shared.process(
            f"{name}-receivewal",
            shared.program.with_name("pg_receivewal"),
            *("-h", servers.LOOPBACK, "-p", str(server.port), "-U", servers.USER),
            *("-D", self.wal, "--no-sync"),
        )
        self.receiver.env = shared.passwords.environment()
        self.receiver.start()
        if not eventually(self._receives, timeout=20):
            raise ProcessError(f"{name}: no WAL is received\n{self.receiver.tail()}")

    def _receives(self) -> bool:
        with psycopg.connect(self.server.url, autocommit=True) as connection:
            rows = connection.execute(
                "SELECT 1 FROM pg_stat_replication WHERE application_name = 'pg_receivewal'"
                " AND state = 'streaming'"
            )
            return rows.fetchone() is not None

    def mark(self) -> None:
        """Let the restore go on to this moment, by the WAL."""
        with psycopg.connect(self.server.url, autocommit=True) as connection:
            connection.execute("SELECT pg_create_restore_point(%s)", [self.name])
        self.is_marked = True

    def restore(self) -> None:
        """Stop the server, and start it on its port from the backup."""
        server, old = self.server, self.server.data
        server.stop()
        self.end()
        server.data = self.data
        server.listen_on(server.port)
        if self.is_marked:
            fetch = f'cp "{self.wal}/%f" "%p" || cp "{self.wal}/%f.partial" "%p"'
            target = ("restore_command", fetch), ("recovery_target_name", self.name)
            options = (*target, ("recovery_target_action", "promote"))
            server.argv = [*server.argv, *(f"-c{name}={value}" for name, value in options)]
            self._run(f"{self.name}-signal", "touch", str(self.data / "recovery.signal"))
        server.start().wait_until_ready()
        server.listen_on(server.port)  # without the options, from the next start on
        self._run(f"{self.name}-remove", "rm", "-rf", str(old), str(self.wal))

    def end(self) -> None:
        """Receive no more."""
        stop_all([self.receiver])

    def _run(self, name: str, *command: str) -> None:
        finish_all([self.server.installation.process(name, *command)])
