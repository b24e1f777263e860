"""A MariaDB server on loopback, whose clock may show another zone's time."""

from __future__ import annotations

import os
import secrets
import socket
from typing import TYPE_CHECKING

from sandbox import processes
from sandbox.environment import DATABASES
from sandbox.servers import LOOPBACK, Server

from . import program

if TYPE_CHECKING:
    from pathlib import Path

HINT = "apt-get install mariadb-server"
#: The owner of the tables. It may create databases, as tests do, and nothing server-wide.
OWNER = "owner"
#: A role with every privilege, for tests that look into the server.
ADMIN = "admin"

SETTINGS = {
    "innodb-buffer-pool-size": "128M",
    # Data must survive a killed server, but not a power failure.
    "innodb-flush-log-at-trx-commit": "2",
    "innodb-flush-method": "nosync",
    "character-set-server": "utf8mb4",  # as Debian's configuration has it
    "collation-server": "utf8mb4_general_ci",
    "max-connections": "200",
    "skip-log-bin": None,
    "skip-name-resolve": None,
    "performance-schema": "OFF",
}


class MariaDB(Server):
    """A MariaDB server with one database for each alias of the project.

    `zone` is the server's own time zone, such as `+05:00`.
    """

    def __init__(self, directory: Path, *, zone: str = "SYSTEM") -> None:
        """Make the data directory, without starting the server."""
        self.directory, self.zone = directory, zone
        self.program = program("mariadbd", "mysqld", hint=HINT)
        self.passwords = {name: secrets.token_hex(16) for name in (OWNER, ADMIN)}
        directory.mkdir(parents=True)
        self.data = directory / "data"
        super().__init__([], log=directory / "mariadb.log", cwd=directory)
        self.listen_on(processes.free_port())
        self._initialise()

    def _initialise(self) -> None:
        install = program("mariadb-install-db", "mysql_install_db", hint=HINT)
        options = [*self._as_user(), "--skip-test-db", "--auth-root-authentication-method=socket"]
        argv = [install, "--no-defaults", f"--datadir={self.data}", *options]
        log = self.directory / "mariadb-install.log"
        processes.finish_all([processes.Process(argv, log=log, cwd=self.directory)])
        self.script = self.directory / "roles.sql"
        self.script.touch(mode=0o600)
        self.script.write_text(";\n".join(self._roles()) + ";\n")

    def _roles(self) -> list[str]:
        made = [f"CREATE DATABASE IF NOT EXISTS `{name}`" for name in DATABASES.values()]
        for name, rights in ((OWNER, "`%`.*"), (ADMIN, "*.*")):
            made += [
                f"CREATE USER IF NOT EXISTS '{name}'@'%' IDENTIFIED BY '{self.passwords[name]}'",
                f"GRANT ALL PRIVILEGES ON {rights} TO '{name}'@'%'",
            ]
        made.append(f"GRANT GRANT OPTION ON *.* TO '{ADMIN}'@'%'")
        return made

    def _as_user(self) -> list[str]:
        return ["--user=root"] if os.geteuid() == 0 else []

    def listen_on(self, port: int) -> None:
        """Use `port` from the next start on."""
        self.port = port
        settings = [
            f"--{name}" if value is None else f"--{name}={value}"
            for name, value in SETTINGS.items()
        ]
        self.argv = [
            *(self.program, "--no-defaults", f"--datadir={self.data}", *self._as_user()),
            f"--tmpdir={self.directory}",  # a server that starts removes what another one has there
            *(f"--bind-address={LOOPBACK}", f"--port={port}", "--socket=server.sock"),
            *(f"--default-time-zone={self.zone}", f"--init-file={self.directory / 'roles.sql'}"),
            *settings,
        ]

    def ready(self) -> bool:
        """Return whether the server greets a client. It listens once its init file has run."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1) as connection:
                return len(connection.recv(5)) == 5
        except OSError:
            return False

    def url(self, alias: str, *, role: str = OWNER) -> str:
        """Return the URL of the alias's database, as `config.settings` takes it."""
        address = f"{role}:{self.passwords[role]}@{LOOPBACK}:{self.port}"
        return f"mysql://{address}/{DATABASES[alias]}"
