"""Reads the keys of a scan, on MySQL and MariaDB."""

from __future__ import annotations

from ..portable.keys import PortableKeys


class MySQLKeys(PortableKeys):
    """See `KeyReader`."""
