"""Servers that are restored from base backups, beside those that they were made of."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.db import connections

from sandbox import processes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox import servers


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
