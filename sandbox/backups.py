"""Base backups of the sandbox's PostgreSQL servers, and servers put back to them."""

from __future__ import annotations

from sandbox import processes, servers
from sandbox.environment import DATABASES


def base_backup(primary: servers.PostgreSQL, name: str, *options: str) -> servers.PostgreSQL:
    """Make a backup of a running server; return the server that begins with it, not started."""
    shared = primary.installation
    alias = next(alias for alias, name in DATABASES.items() if name == primary.database)
    server = servers.PostgreSQL(shared, alias=alias)
    server.data, server.log = shared.place / name, shared.logs / f"postgresql-{name}.log"
    server.listen_on(processes.free_port())
    backup = shared.process(
        f"basebackup-{name}",
        shared.program.with_name("pg_basebackup"),
        *("-h", servers.LOOPBACK, "-p", str(primary.port), "-U", servers.USER),
        *("-D", str(server.data), *options, "--checkpoint=fast", "--no-sync"),
    )
    backup.env = shared.passwords.environment()
    processes.finish_all([backup])
    return server


def put_back(server: servers.PostgreSQL, backup: servers.PostgreSQL) -> None:
    """Stop the server, and start it on its port with the data of a backup that never ran."""
    server.stop()
    server.data = backup.data
    server.listen_on(server.port)
    server.start().wait_until_ready()
