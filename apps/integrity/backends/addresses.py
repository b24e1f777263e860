"""Which physical database an alias names, as far as its settings tell. No connections.

Two aliases of one address are two routes to one database (a second user, a test mirror). What the
settings do not tell is not found: a pooler on another port, or two names of one host, are two
addresses.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote, urlsplit

from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Mapping

Address: TypeAlias = tuple[str, ...]

#: The ports that servers have where the settings name none.
PORTS = {"postgresql": "5432", "mysql": "3306", "oracle": "1521"}
#: Names that a machine has for itself.
LOCAL = {"127.0.0.1", "::1", "localhost"}


def address(alias: str) -> Address | None:
    """Return what identifies the database behind an alias; None where the settings do not tell."""
    connection = connections[alias]
    return address_of(connection.settings_dict, connection.vendor)


def address_of(settings: Mapping[str, Any], vendor: str) -> Address | None:
    """Return the address that one entry of `DATABASES` has. Pure, but for relative paths."""
    name, options = str(settings.get("NAME") or ""), settings.get("OPTIONS") or {}
    if vendor == "sqlite":
        return _file(name)
    name = name or str(options.get("dbname") or options.get("db") or options.get("database") or "")
    server = _server(settings, options, vendor)
    if not (name or options.get("service")):
        return None
    # Two schemas of one database hold different tables.
    return (vendor, *server, name, _schema(options))


def server(alias: str) -> str:
    """Return the host and port of an alias's server in words; "" for a file."""
    connection = connections[alias]
    if connection.vendor == "sqlite":
        return ""
    given = connection.settings_dict
    service, host, port = _server(given, given.get("OPTIONS") or {}, connection.vendor)
    return service or f"{host or 'localhost'}:{port}"


def _server(settings: Mapping[str, Any], options: Mapping[str, Any], vendor: str) -> Address:
    """Return where the server is: service, host or directory of its socket, and port."""
    host = settings.get("HOST") or options.get("host") or options.get("hostaddr") or ""
    host = str(host or options.get("unix_socket") or "")
    service = str(options.get("service") or "")
    default = "" if service and not host else PORTS.get(vendor, "")
    port = str(settings.get("PORT") or options.get("port") or default)
    return service, "localhost" if host in LOCAL else host.rstrip("/").lower(), port


def _schema(options: Mapping[str, Any]) -> str:
    """Return the search path in the connection options, without spaces and quotes."""
    text = str(options.get("options") or "").replace("\\ ", "")
    paths = re.findall(r"search_path\s*=\s*(\S+)", text)
    return re.sub(r"[\"']", "", paths[-1]) if paths else ""


def _file(name: str) -> Address | None:
    """Return a file's absolute path, or the name of a database in memory; else None."""
    if not name or name == ":memory:":
        return None
    path, query = name, ""
    if name.startswith("file:"):
        parts = urlsplit(name)
        path, query = unquote(parts.path), parts.query
    if "mode=memory" in query or ":memory:" in path:
        return ("sqlite", "memory", path) if "cache=shared" in query else None
    return ("sqlite", "file", str(Path(path).resolve()))
