"""Locks tables for a quick change. SQLite needs no such lock."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from django.db import DatabaseError, connections, transaction

from .errors import code_of
from .mysql import table_locks as mysql

if TYPE_CHECKING:
    from collections.abc import Sequence

#: All later writes queue behind a session that waits for a table. So it waits briefly, many times.
TRIES, WAIT_MILLISECONDS, PAUSE_SECONDS = 20, 200, 0.5
#: Another transaction holds a lock.
LOCKED = frozenset({"55P03", "40P01", "1205", "1213"})


def lock_tables(using: str, names: Sequence[str]) -> str:
    """Lock the tables against all other sessions until the caller's transaction ends.

    Return "" on success, and else who holds the tables. Does nothing on SQLite, and outside a
    transaction of PostgreSQL. On MySQL and MariaDB the lock ends at once, and what the caller's
    transaction has done is committed: see Note [Dropped one by one] in mysql/table_locks.py.
    """
    connection = connections[using]
    if connection.vendor == "mysql":
        locks = mysql.lock
    elif connection.vendor == "postgresql" and connection.in_atomic_block:
        locks = _postgresql_locks
    else:
        return ""
    listed = [connection.ops.quote_name(name) for name in names]
    for number in range(TRIES):
        try:
            locks(using, listed)
        except DatabaseError as error:
            if code_of(error) not in LOCKED:
                raise
            if number + 1 < TRIES:
                time.sleep(PAUSE_SECONDS * random.SystemRandom().uniform(0.5, 1))
        else:
            return ""
    if connection.vendor == "mysql":
        return "an open transaction (SHOW PROCESSLIST lists the sessions)"
    return _holders(using, names)


def _postgresql_locks(using: str, listed: Sequence[str]) -> None:
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = {WAIT_MILLISECONDS}")
        cursor.execute(f"LOCK TABLE {', '.join(listed)} IN ACCESS EXCLUSIVE MODE")


def _holders(using: str, names: Sequence[str]) -> str:
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT 'pid ' || pid FROM pg_locks WHERE granted AND pid <> pg_backend_pid()"
            " AND relation = ANY (SELECT to_regclass(name) FROM unnest(%s::text[]) AS name)",
            [[connections[using].ops.quote_name(name) for name in names]],
        )
        return ", ".join(who for (who,) in cursor) or "a transaction that has ended since"
