"""The error of a server that has no connection left."""

from __future__ import annotations

from . import DatabaseUnreachable


class TooManyConnections(DatabaseUnreachable):
    """A server takes no more connections: `max_connections` or another limit of it is reached."""

    PREDICATE = "takes no more connections"
