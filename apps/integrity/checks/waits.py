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
BOUNDS = {"connect_timeout": 3, "tcp_user_timeout": 10_000}


def locked(**_: Any) -> list[checks.CheckMessage]:
    """W018: of two processes that write to a SQLite file, one gets "database is locked"."""
    messages: list[checks.CheckMessage] = []
    for alias, options in _options("sqlite", relations.catalogue().child_databases):
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
    """W021, of `check --deploy`: no timeout ends the wait for a silent PostgreSQL server."""
    known = relations.catalogue()
    messages: list[checks.CheckMessage] = []
    for alias, options in _options("postgresql", {*known.child_databases, *known.log_databases}):
        missing = {name: value for name, value in BOUNDS.items() if not options.get(name)}
        if not missing or "service" in options:  # which says the rest
            continue
        messages.append(
            checks.Warning(
                f"DATABASES[{alias!r}] has no {' and no '.join(missing)}: a process waits for a"
                " server that does not answer until the operating system gives up, which takes"
                " minutes.",
                hint=f"DATABASES[{alias!r}]['OPTIONS'] = {missing!r}, in addition to what is"
                " there.",
                obj=alias,
                id="integrity.W021",
            )
        )
    return messages


def _options(vendor: str, aliases: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the aliases of this vendor's databases with their OPTIONS."""
    for alias in sorted(aliases):
        connection = connections[alias]
        if connection.vendor == vendor:
            yield alias, connection.settings_dict.get("OPTIONS") or {}


CHECKS = (locked,)
DEPLOYED = (unbounded,)
