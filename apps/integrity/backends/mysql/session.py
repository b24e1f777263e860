"""What a step sets in its session, and how the session gets it back.

Note [Own session]: MySQL and MariaDB have no `SET LOCAL`. The longest wait for a lock is a variable
of the session, and the session belongs to the project, whose own statements follow in the same
process. So the first of several steps keeps the values that it found in user variables, and they
are restored when all of these are over, because each would need two more round trips. The wait for
a row is in whole seconds. That for a table, which DDL may lock, is a variable of its own; a
server's default for it is a day or more.

Note [Read committed]: under REPEATABLE READ, the reads of a transaction show the rows of its first
one, also after it has waited for others that changed them, and statements that lock rows lock the
gaps between them, so that no delete of the project could be recorded meanwhile. The log and a step
decide by rows as they are now, and shall not be in the way of inserts. Their transactions are READ
COMMITTED, which is Django's default there; a project may have set something else.
"""

from __future__ import annotations

import functools
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from django.db import Error, connections
from django.db.transaction import Atomic, get_connection

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


class ReadCommitted(Atomic):
    """A transaction that sees what others commit; inside another one, a part of it."""

    def __init__(self, using: str, *, savepoint: bool = True, durable: bool = False) -> None:
        super().__init__(using, savepoint, durable)

    def __enter__(self) -> None:
        connection: Any = get_connection(self.using)
        if not connection.in_atomic_block:
            read_committed(connection, writes=True)
        super().__enter__()


def read_committed(connection: Any, *, writes: bool) -> None:
    """Make the next transaction READ COMMITTED, unless the server would then refuse its writes."""
    connection.ensure_connection()
    if connection.isolation_level == READ_COMMITTED:
        return
    if not writes or _may_set(connection.alias):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")


def is_read_committed(using: str) -> bool:
    """Return whether `ReadCommitted` is that on this server."""
    connection: Any = connections[using]
    return connection.isolation_level == READ_COMMITTED or _may_set(using)


def begin(lock_seconds: float, using: str) -> None:
    """Let the transaction wait for a lock no longer than that."""
    connection: Any = connections[using]
    seconds = max(1, round(lock_seconds))
    with connection.cursor() as cursor:
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


@contextmanager
def timed(using: str, seconds: float) -> Iterator[None]:
    """Limit each SELECT of the block; a wait for a table that somebody has locked counts."""
    connection: Any = connections[using]
    name, unit = ("max_execution_time", 1000)
    if connection.mysql_is_mariadb:
        name, unit = ("max_statement_time", 1)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT @@{name}")
        (before,) = cursor.fetchone()
        wanted = type(before)(max(seconds * unit, 1 if unit > 1 else 0.001))
        cursor.execute(f"SET SESSION {name} = %s", [min(filter(None, (before, wanted)))])
    try:
        yield
    finally:
        with suppress(Error), connection.cursor() as cursor:
            cursor.execute(f"SET SESSION {name} = %s", [before])


@functools.cache
def _may_set(using: str) -> bool:
    """Return whether the server takes writes of such a transaction: not by its binary log."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT @@log_bin AND @@binlog_format = 'STATEMENT'")
        return not cursor.fetchone()[0]
