"""Statements on rows of the project, for MySQL and MariaDB."""

from __future__ import annotations

from django.db import connections

from ..portable.rows import PortableRows


class MySQLRows(PortableRows):
    """See `RowBackend`."""

    def begin_step(self, *, lock_seconds: float, using: str) -> None:
        with connections[using].cursor() as cursor:
            seconds = max(1, round(lock_seconds))
            cursor.execute("SET SESSION innodb_lock_wait_timeout = %s", [seconds])
