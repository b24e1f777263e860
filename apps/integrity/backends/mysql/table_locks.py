"""Locks tables of MySQL and MariaDB for a quick change.

Note [Dropped one by one]: these keep no lock from one DROP TABLE to the next, and a statement that
drops a table waits a day by default, with all later ones behind it. So whether somebody holds the
tables is asked first, and the session then waits for seconds only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The shortest wait, and how long a DROP TABLE may then wait. In seconds.
WAIT_SECONDS, DROP_WAIT_SECONDS = 1, 20


def lock(using: str, listed: Sequence[str]) -> None:
    """Lock the tables, named as in SQL, for a moment; let the session wait for seconds only."""
    with connections[using].cursor() as cursor:
        cursor.execute(f"SET SESSION lock_wait_timeout = {WAIT_SECONDS}")
        try:
            cursor.execute(f"LOCK TABLES {', '.join(f'{name} WRITE' for name in listed)}")
            cursor.execute("UNLOCK TABLES")
        finally:
            cursor.execute(f"SET SESSION lock_wait_timeout = {DROP_WAIT_SECONDS}")
