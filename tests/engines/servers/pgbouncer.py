"""PgBouncer on loopback, in transaction pooling, in front of one PostgreSQL server."""

from __future__ import annotations

import os
import secrets
import socket
from typing import TYPE_CHECKING

from sandbox import processes, roles
from sandbox.servers import LOOPBACK, USER, PostgreSQL, Server

from . import needed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HINT = "apt-get install pgbouncer"
#: As docs/how-to/least-privilege.md says. The small pool makes clients share sessions.
SETTINGS = {
    "listen_addr": LOOPBACK,
    "unix_socket_dir": "",
    "auth_type": "scram-sha-256",
    "pool_mode": "transaction",
    "default_pool_size": "8",
    "max_client_conn": "200",
    "ignore_startup_parameters": "extra_float_digits, options",
    "query_wait_timeout": "5",
    "server_connect_timeout": "3",
    "server_login_retry": "1",
}


class PgBouncer(Server):
    """A pooler of `server`, which it serves under the names of its databases.

    It runs as the user of the PostgreSQL servers, because it refuses root as they do.
    """

    def __init__(self, server: PostgreSQL, **settings: str) -> None:
        """Write the configuration, without starting the pooler. `settings` replace the usual.

        Skips the test if PgBouncer is not on this machine: see `needed`.
        """
        self.server, self.settings = server, SETTINGS | settings
        shared = server.installation
        self.program = needed("pgbouncer", hint=HINT)
        # A test may run a second one for the same server, with a configuration of its own.
        name = f"pgbouncer-{server.database}-{secrets.token_hex(3)}"
        self.configuration = shared.place / f"{name}.ini"
        self.users = shared.place / f"{name}.users"
        super().__init__([], log=shared.logs / f"{name}.log", cwd=shared.place, mode=shared.mode)
        self.listen_on(processes.free_port())

    def listen_on(self, port: int) -> None:
        """Use `port` from the next start on."""
        self.port = port
        passwords = self.server.installation.passwords
        self._write(
            self.users,
            "".join(f'"{role}" "{passwords.of(role)}"\n' for role in (USER, *roles.PREFIXES)),
        )
        self._write(
            self.configuration,
            f"[databases]\n* = host={LOOPBACK} port={self.server.port}\n[pgbouncer]\n",
            {**self.settings, "listen_port": str(port), "auth_file": str(self.users)},
        )
        self.argv = [self.program, self.configuration]

    def _write(self, path: Path, text: str, settings: Mapping[str, str] | None = None) -> None:
        """Write a file with passwords, for the pooler's user alone."""
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(text + "".join(f"{k} = {v}\n" for k, v in (settings or {}).items()))
        if ":" in self.mode:
            os.chown(path, *map(int, self.mode.split(":")))

    def ready(self) -> bool:
        """Return whether the pooler accepts connections."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1):
                return True
        except OSError:
            return False

    def url_of(self, role: str, database: str = "") -> str:
        """Return the URL with which the role logs in, through the pooler."""
        password = self.server.installation.passwords.of(role)
        name = database or self.server.database
        return f"postgresql://{role}:{password}@{LOOPBACK}:{self.port}/{name}"
