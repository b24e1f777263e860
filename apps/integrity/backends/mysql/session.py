"""What a step sets in its session, and how the session gets it back.

Note [Own session]: MySQL and MariaDB have no `SET LOCAL`. The longest wait for a lock is a variable
of the session, and the session belongs to the project, whose own statements follow in the same
process. So the first of several steps keeps the values that it found in user variables, and they
are restored when all of these are over, because each would need two more round trips. The wait for
a row is in whole seconds. That for a table, which DDL may lock, is a variable of its own; a
server's default for it is a day or more.

Note [Current rows]: under REPEATABLE READ, the reads of a transaction show the rows of its first
one, and statements that change rows lock the gaps between them. A step decides by rows as they are
now, and shall not be in the way of inserts, so its own transaction is READ COMMITTED, which is
Django's default.
"""

from __future__ import annotations

import functools
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from django.db import Error, connections

if TYPE_CHECKING:
    from collections.abc import Iterator

WAITS = ("innodb_lock_wait_timeout", "lock_wait_timeout")
#: A variable that is still set belongs to a step whose end was not seen: its value is older.
_KEEP = ", ".join(f"@integrity_{name} = IFNULL(@integrity_{name}, @@{name})" for name in WAITS)
_WAIT = ", ".join(f"SESSION {name} = %s" for name in WAITS)
BEGIN = f"SET {_KEEP}, {_WAIT}"
_BACK = ", ".join(
    f"SESSION {name} = CAST(IFNULL(@integrity_{name}, @@{name}) AS SIGNED)" for name in WAITS
)
_DROP = ", ".join(f"@integrity_{name} = NULL" for name in WAITS)
RESTORE = f"SET {_BACK}, {_DROP}"

#: The attribute of the driver's connection that holds the seconds that steps have set.
MARK = "integrity_lock_seconds"
#: What a read outside of steps sets, and sets back.
READ_WAITS = "SELECT @@lock_wait_timeout, @@innodb_lock_wait_timeout"
SET_WAITS = "SET SESSION lock_wait_timeout = %s, SESSION innodb_lock_wait_timeout = %s"
READ_COMMITTED = "read committed"


def begin(lock_seconds: float, using: str) -> None:
    """Let the transaction see current rows, and wait for a lock no longer than that."""
    connection: Any = connections[using]
    seconds = max(1, round(lock_seconds))
    with connection.cursor() as cursor:
        is_outermost = connection.in_atomic_block and not connection.savepoint_ids
        if is_outermost and connection.isolation_level != READ_COMMITTED and _may_set(using):
            cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        if getattr(connection.connection, MARK, None) != seconds:
            cursor.execute(BEGIN, [seconds] * len(WAITS))
            setattr(connection.connection, MARK, seconds)


@contextmanager
def restored(using: str) -> Iterator[None]:
    """Restore the session after the block, unless its connection is closed: Note [Own session]."""
    connection: Any = connections[using]
    try:
        yield
    finally:
        if getattr(connection.connection, MARK, None) is not None:
            setattr(connection.connection, MARK, None)
            with suppress(Error), connection.cursor() as cursor:
                cursor.execute(RESTORE)


@contextmanager
def bounded(using: str, lock_seconds: float) -> Iterator[None]:
    """Limit the waits for locks in the block, in whole seconds. Other engines wait as they do."""
    connection = connections[using]
    if connection.vendor != "mysql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute(READ_WAITS)
        before = cursor.fetchone()
        cursor.execute(SET_WAITS, [max(1, round(lock_seconds))] * len(before))
    try:
        yield
    finally:
        with suppress(Error), connection.cursor() as cursor:
            cursor.execute(SET_WAITS, before)


@functools.cache
def _may_set(using: str) -> bool:
    """Return whether the server takes writes of such a transaction: not by its binary log."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT @@log_bin AND @@binlog_format = 'STATEMENT'")
        return not cursor.fetchone()[0]
