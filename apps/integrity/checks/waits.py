"""How long a connection may wait, according to `DATABASES`. No connection is opened.

This app limits the waits of its own statements. The options that are checked here apply before a
transaction begins, or to every process that writes to the database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db import connections

from .. import relations

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Modes in which a transaction takes the write lock when it begins.
WAITING = {"IMMEDIATE", "EXCLUSIVE"}
#: Vendor → options that end a wait for a silent server.
BOUNDS = {
    "postgresql": {"connect_timeout": 3, "tcp_user_timeout": 10_000},
    "mysql": {"connect_timeout": 3, "read_timeout": 30},
}
SERVERS = {"postgresql": "PostgreSQL", "mysql": "MySQL"}


def locked(**_: Any) -> list[checks.CheckMessage]:
    """W018: of two processes that write to a SQLite file, one gets "database is locked"."""
    known = relations.catalogue()
    messages: list[checks.CheckMessage] = []
    for alias, options in _options("sqlite", {*known.child_databases, *known.log_databases}):
        mode = str(options.get("transaction_mode") or "DEFERRED").upper()
        if mode in WAITING and options.get("timeout"):
            continue
        messages.append(
            checks.Warning(
                f"DATABASES[{alias!r}] is SQLite without a transaction_mode and a timeout: where"
                ' two processes write, one of them gets "database is locked" at once.',
                hint=f"DATABASES[{alias!r}]['OPTIONS'] ="
                ' {"transaction_mode": "IMMEDIATE", "timeout": 20}',
                obj=alias,
                id="integrity.W018",
            )
        )
    return messages


def unbounded(**_: Any) -> list[checks.CheckMessage]:
    """W021, of `check --deploy`: no timeout ends the wait for a silent server."""
    known = relations.catalogue()
    aliases = {*known.child_databases, *known.log_databases}
    messages: list[checks.CheckMessage] = []
    for vendor, bounds in BOUNDS.items():
        for alias, options in _options(vendor, aliases):
            missing = {name: value for name, value in bounds.items() if not options.get(name)}
            # A file may say the rest.
            if missing and not {"service", "read_default_file"} & {*options}:
                messages.append(_unbounded(alias, missing, SERVERS[vendor]))
    return messages


def _unbounded(alias: str, missing: dict[str, int], server: str) -> checks.CheckMessage:
    minutes = "until the operating system gives up, which takes minutes"
    how_long = minutes if server == "PostgreSQL" else "for good"
    return checks.Warning(
        f"DATABASES[{alias!r}] has no {' and no '.join(missing)}: a process waits for a"
        f" {server} server that does not answer {how_long}.",
        hint=f"DATABASES[{alias!r}]['OPTIONS'] = {missing!r}, in addition to what is there.",
        obj=alias,
        id="integrity.W021",
    )


def _options(vendor: str, aliases: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the aliases of this vendor's databases with their OPTIONS."""
    for alias in sorted(aliases):
        connection = connections[alias]
        if connection.vendor == vendor:
            yield alias, connection.settings_dict.get("OPTIONS") or {}


CHECKS = (locked,)
DEPLOYED = (unbounded,)
