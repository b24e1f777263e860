"""What MySQL and MariaDB say of their transactions.

Note [Locking probe]: InnoDB has transaction ids, but an ordinary role cannot read them. So there is
no barrier. What can be asked is whether a transaction that is still open has added rows of certain
keys, or has moved or removed some: a read that locks meets the lock of each such row, whatever the
isolation level of either side. Plain reads and SKIP LOCKED do not see these rows. The probe never
waits (NOWAIT), so that it takes part in no deadlock, and it runs in a transaction of its own under
READ COMMITTED: it locks no gaps, and what it locks is free again when the statement ends.

The optimiser may read a whole small table for many keys, and meet rows of others. So keys that meet
a lock are asked again, half of them at a time and in the end one by one, which goes by the index.
Without an index the whole table is read, and any row that somebody has just written counts.

A transaction that has not written any of these rows yet is not seen: the scan finds what it leaves.
Nor is one on another node of a Galera cluster.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, connections

from ...exceptions.redaction import plain
from .. import collations
from ..errors import code_of
from ..portable.barriers import NoBarriers
from ..portable.chunks import chunks
from ..quoted import extra_conditions, names_of
from . import row_sql
from .session import read_committed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper

    from ...relations import Field

#: A lock is held: MariaDB and older servers, MySQL 8 with NOWAIT.
LOCKED = frozenset({"1205", "3572"})
#: The role may not see the transactions of others.
NOT_SHOWN = frozenset({"1227", "1142", "1044"})
#: Statements of one call. Keys that are not asked by then count as held.
PROBES_MAX = 1_000

#: The oldest transaction that has changed rows. InnoDB has its time in the zone of the machine.
OLDEST = (
    "SELECT trx.trx_id, trx.trx_mysql_thread_id, session.user, session.db,"
    " DATE_FORMAT(CONVERT_TZ(trx.trx_started, 'SYSTEM', '+00:00'), '%Y-%m-%d %H:%i:%s UTC')"
    " FROM information_schema.innodb_trx AS trx LEFT JOIN information_schema.processlist AS session"
    " ON session.id = trx.trx_mysql_thread_id WHERE trx.trx_rows_modified > 0"
    " AND trx.trx_mysql_thread_id <> CONNECTION_ID() ORDER BY trx.trx_started LIMIT 1"
)


class MySQLBarriers(NoBarriers):
    """See `BarrierBackend`."""

    def uncommitted_keys(self, field: Field, keys: Sequence[Any], *, using: str) -> set[Any]:
        held, probes = set[Any](), 0
        stack = chunks(keys) if keys else []
        while stack:
            part = stack.pop()
            probes += 1
            if probes <= PROBES_MAX and _is_free(field, part, using):
                continue
            if len(part) == 1 or probes > PROBES_MAX:
                held.update(part)
            else:
                middle = len(part) // 2
                stack += [part[:middle], part[middle:]]
        return held

    def describe_holder(self, *, using: str) -> str:
        try:
            with connections[using].cursor() as cursor:
                cursor.execute(OLDEST)
                row = cursor.fetchone()
        except DatabaseError as error:
            if code_of(error) not in NOT_SHOWN:
                raise
            return (
                "waits for rows that an open transaction has changed, which the server does not"
                " show to this role; GRANT PROCESS ON *.* to see it"
            )
        if row is None:
            return "waits for rows that an open transaction has changed"
        return _sentence(*row)


def _sentence(number: int, thread: int, user: str | None, database: str | None, since: str) -> str:
    """Return a sentence on the transaction that most likely holds the rows. Pure."""
    what = f"transaction {number}"
    if not thread:
        return (
            f"waits for rows that an open transaction has changed, the oldest of which is the"
            f" prepared {what} since {since}: XA RECOVER lists it, XA COMMIT or XA ROLLBACK ends it"
        )
    owner = f" of {plain(user)}" if user else ""
    where = f" in database {plain(database)}" if database else ""
    return (
        f"waits for rows that an open transaction has changed, the oldest of which is {what}"
        f" of thread {thread}{owner}{where} since {since}: end it there, or with KILL {thread}"
    )


def _is_free(field: Field, keys: Sequence[Any], using: str) -> bool:
    """Return whether no row has one of these keys, and no open transaction has changed one."""
    connection, names = connections[using], names_of(field, using)
    wanted, params = row_sql.among(names["key"], keys)
    exact = ""
    if collations.is_exact(field, using):
        texts = [str(key).encode() for key in keys]
        spelled, more = row_sql.among(collations.BYTES % {"expressions": names["key"]}, texts)
        exact, params = f" AND {spelled}", [*params, *more]
    sql = (
        f"SELECT 1 FROM {names['table']} WHERE {wanted}{exact}"
        f"{extra_conditions(field, names['table'], using)} LIMIT 1 {_share(connection)} NOWAIT"
    )
    try:
        with _alone(connection), connection.cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.fetchone() is None
    except DatabaseError as error:
        if code_of(error) in LOCKED:
            return False
        raise


def _share(connection: BaseDatabaseWrapper) -> str:
    return "LOCK IN SHARE MODE" if getattr(connection, "mysql_is_mariadb", False) else "FOR SHARE"


@contextmanager
def _alone(connection: Any) -> Iterator[None]:
    """Let the statement inside be a transaction of its own, unless the caller has one."""
    if connection.in_atomic_block:
        yield
    elif not connection.get_autocommit():
        try:
            yield
        finally:
            connection.rollback()
    else:
        read_committed(connection, writes=False)
        yield
