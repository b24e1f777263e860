"""Locks tables for a quick change. On PostgreSQL; other engines need no such lock."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from django.db import DatabaseError, connections, transaction

from .errors import code_of

if TYPE_CHECKING:
    from collections.abc import Sequence

#: All later writes queue behind a session that waits for a table. So it waits briefly, many times.
TRIES, WAIT_MILLISECONDS, PAUSE_SECONDS = 20, 200, 0.5
#: Another transaction holds a lock.
LOCKED = frozenset({"55P03", "40P01"})


def lock_tables(using: str, names: Sequence[str]) -> str:
    """Lock the tables against all other sessions until the caller's transaction ends.

    Return "" on success, and else who holds the tables. Does nothing outside a transaction and on
    other engines.
    """
    connection = connections[using]
    if connection.vendor != "postgresql" or not connection.in_atomic_block:
        return ""
    listed = ", ".join(map(connection.ops.quote_name, names))
    for number in range(TRIES):
        try:
            with transaction.atomic(using=using), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = {WAIT_MILLISECONDS}")
                cursor.execute(f"LOCK TABLE {listed} IN ACCESS EXCLUSIVE MODE")
        except DatabaseError as error:
            if code_of(error) not in LOCKED:
                raise
            if number + 1 < TRIES:
                time.sleep(PAUSE_SECONDS * random.SystemRandom().uniform(0.5, 1))
        else:
            return ""
    return _holders(using, names)


def _holders(using: str, names: Sequence[str]) -> str:
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT 'pid ' || pid FROM pg_locks WHERE granted AND pid <> pg_backend_pid()"
            " AND relation = ANY (SELECT to_regclass(name) FROM unnest(%s::text[]) AS name)",
            [[connections[using].ops.quote_name(name) for name in names]],
        )
        return ", ".join(who for (who,) in cursor) or "a transaction that has ended since"
