"""Base backups of the sandbox's PostgreSQL servers, and servers that are restored from them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.db import connections

from sandbox import processes, servers

if TYPE_CHECKING:
    from collections.abc import Iterator


def base_backup(primary: servers.PostgreSQL, name: str, *options: str) -> servers.PostgreSQL:
    """Make a backup of a running server; return the server that begins with it, not started."""
    shared = primary.installation
    alias = next(alias for alias, name in servers.DATABASES.items() if name == primary.database)
    server = servers.PostgreSQL(shared, alias=alias)
    server.data, server.log = shared.place / name, shared.logs / f"postgresql-{name}.log"
    server.listen_on(processes.free_port())
    backup = shared.process(
        f"basebackup-{name}",
        shared.program.with_name("pg_basebackup"),
        *("-h", servers.LOOPBACK, "-p", str(primary.port), "-U", servers.USER),
        *("-D", server.data, *options, "--checkpoint=fast", "--no-sync"),
    )
    backup.env = shared.passwords.environment()
    processes.finish_all([backup])
    return server


@contextmanager
def restored(server: servers.PostgreSQL, *aliases: str) -> Iterator[None]:
    """Start a server from its backup, and let those aliases lead to it."""
    ports = {alias: connections[alias].settings_dict["PORT"] for alias in aliases}
    try:
        server.start().await_first_start()
        _lead(dict.fromkeys(aliases, str(server.port)))
        yield
    finally:
        _lead(ports)
        processes.stop_all([server])
        shared = server.installation
        processes.finish_all(
            [shared.process(f"remove-{server.data.name}", "rm", "-rf", server.data)]
        )


def _lead(ports: dict[str, str]) -> None:
    for alias, port in ports.items():
        connections[alias].close()
        connections[alias].settings_dict["PORT"] = port
