"""A change of a table that waits only briefly for its lock, and tries again.

While a session waits for a table lock, all later writes to the table queue behind it. So each try
waits a fraction of the time that a request may wait, gives up, and leaves the table to others for a
while.
"""

from __future__ import annotations

import random
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import DatabaseError, connections, transaction

from ...errors import code_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .functions import Place

#: Tries, where no transaction is open.
TRIES = 8
#: Share of a request's lock timeout that one try waits: writes queue meanwhile.
WAIT_SHARE = 0.1
#: Another transaction holds a lock.
LOCKED = frozenset({"55P03", "40P01"})
#: Another installation, maybe in another database of the server, creates the same role now.
MADE_MEANWHILE = frozenset({"23505", "42710", "40001", "XX000"})
#: Key of the advisory lock that allows one installation at a time in each database.
INSTALLING = 7_306_120_914

_HOLDERS = """
SELECT DISTINCT coalesce('pid ' || held.pid, 'the prepared transaction ' || prepared.gid, 'unseen'),
 coalesce(session.state, ''), coalesce(session.application_name, ''),
 to_char(coalesce(session.xact_start, prepared.prepared) AT TIME ZONE 'UTC',
  'YYYY-MM-DD HH24:MI:SS "UTC"')
FROM pg_catalog.pg_locks AS held
LEFT JOIN pg_catalog.pg_stat_activity AS session ON session.pid = held.pid
LEFT JOIN pg_catalog.pg_locks AS itself ON held.pid IS NULL AND itself.pid IS NULL
 AND itself.locktype = 'transactionid' AND itself.virtualtransaction = held.virtualtransaction
LEFT JOIN pg_catalog.pg_prepared_xacts AS prepared ON prepared.transaction = itself.transactionid
WHERE held.locktype = 'relation' AND held.relation = pg_catalog.to_regclass(%s)
AND held.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
AND held.granted AND held.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
AND (held.mode <> 'AccessShareLock' OR %s)
ORDER BY 4, 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A transaction that holds a table: session, state and start, as far as the role sees them."""

    who: str
    state: str
    application: str
    since: str

    def __str__(self) -> str:
        """Return a phrase for a sentence."""
        details = [self.application, self.state, f"since {self.since}" if self.since else ""]
        known = ", ".join(detail for detail in details if detail)
        return f"{self.who} ({known})" if known else self.who


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A table whose triggers could not be changed, and what held it at the last try."""

    table: str
    holders: tuple[Holder, ...]

    def __str__(self) -> str:
        """Return a sentence with the remedy."""
        who = ", ".join(map(str, self.holders)) or "a transaction that has ended since"
        return (
            f"{self.table} is held by {who}. End it (pg_terminate_backend, ROLLBACK PREPARED), or"
            " run `manage.py integrity install-triggers` again when it has ended"
        )


def attempt(
    using: str,
    table: Place | None,
    act: Callable[[], None],
    *,
    lock_seconds: float,
    tell: Callable[[str], object],
    pause: Callable[[float], object] = time.sleep,
) -> Held | None:
    """Run `act` in a transaction of its own; try again after a pause where a lock is not granted.

    Return None on success, and else what holds `table` after the last try. Inside a transaction
    there is only one try: a pause would delay sessions that wait for that transaction. `tell`
    receives a line for each failed try. Raises the errors of `act` that are not about locks.
    """
    tries = 1 if connections[using].in_atomic_block else TRIES
    for number in range(1, tries + 1):
        try:
            with transaction.atomic(using=using), _waiting(using, lock_seconds * WAIT_SHARE):
                act()
        except DatabaseError as error:
            code = code_of(error)
            if code not in (LOCKED if number == tries else LOCKED | MADE_MEANWHILE):
                raise
            held = Held(table=str(table or "another installation"), holders=holders(using, table))
            if number == tries:
                return held
            tell(f"{using}: {held} (try {number} of {tries})")
            pause(_pause_seconds(number, lock_seconds))
        else:
            break
    return None


def _pause_seconds(number: int, longest: float) -> float:
    """Return the seconds until the next try; at random, so that two installers do not meet."""
    bound = longest * min(1.0, WAIT_SHARE * 2.0**number)
    return bound * random.SystemRandom().uniform(0.5, 1)


@contextmanager
def _waiting(using: str, seconds: float) -> Iterator[None]:
    """Limit waits for locks to `seconds`, and install alone; then restore the lock timeout."""
    milliseconds = max(1, round(seconds * 1000))
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout')")
        (before,) = cursor.fetchone()
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{milliseconds}ms"])
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [INSTALLING])
        yield
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [before])


def holders(using: str, table: Place | None, *, readers: bool = False) -> tuple[Holder, ...]:
    """Return who holds the table against a change of its triggers; `readers` includes reads."""
    if table is None:
        return ()
    with connections[using].cursor() as cursor:
        cursor.execute(_HOLDERS, [str(table), readers])
        return tuple(
            Holder(who=who, state=state, application=application, since=since or "")
            for who, state, application, since in cursor.fetchall()
        )
