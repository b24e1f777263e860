"""Statements on the log, for MySQL and MariaDB."""

from __future__ import annotations

from ..portable.log import PortableLog


class MySQLLog(PortableLog):
    """See `LogBackend`."""
