"""Which database is to blame for an error: `DatabaseHindered` names it; other errors pass.

A database is hindered where its connection is refused or lost, or where its server cannot work now.

Note [Sessions in use]: a worker would ask each database whether it answers before each claim, and
wait for it. It need not ask a session that answered within a minute, has met no error since, and
has nothing to read: a server that ends a session says so, or closes it. A server that was frozen
meanwhile is noticed by the next statement instead. Nor does Django ask it once more, as it does
with `CONN_HEALTH_CHECKS` before the first statement of each task.
"""

from __future__ import annotations

import contextlib
import select
import threading
import time
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

from django.db import Error, connections

from ..exceptions import DatabaseHindered, DatabaseUnreachable
from ..exceptions.crowded import TooManyConnections
from ..exceptions.loggers import logger_of
from .addresses import server
from .errors import (
    SILENT_WHEN_GONE,
    Trouble,
    code_of,
    database_of,
    is_crowded,
    trouble_of,
    words_of,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper

logger = logger_of("integrity.control")

#: Seconds that a new connection may take, where the project sets no timeout.
CONNECT_SECONDS = 5

#: Seconds that a database gets to answer after it was waited for in vain.
ALIVE_SECONDS = 2.0

#: Seconds in which a session that has answered need not be asked again.
IN_USE_SECONDS = 60.0
#: Connection → its session, and when that answered.
_answered: WeakKeyDictionary[BaseDatabaseWrapper, tuple[Any, float]] = WeakKeyDictionary()

#: Seconds in which the same warning is not logged again.
AGAIN_SECONDS = 60.0
_warned: dict[str, float] = {}

#: What helps where a server takes no more connections.
FEWER = "run fewer processes, lower child_connections_max, or raise it"

#: The aliases that each thread has worked on, the latest last.
_used = threading.local()

#: Types of exceptions, for an `except` clause.
Interrupts: TypeAlias = tuple[type[Exception], ...]

#: Exceptions of a hindered database. A caller with a time limit adds the exception of that limit.
CONNECTION_ERRORS: Interrupts = (DatabaseHindered,)


def silence(database: str) -> str:
    """Return why the database does not answer, as a sentence without its subject, or ""."""
    try:
        reach(database)
    except DatabaseUnreachable as error:
        return error.sentence
    return ""


def reach(database: str, *, fresh: bool = True) -> None:
    """Make sure that `database` answers. Raises `DatabaseUnreachable`.

    A new connection to a server may take `CONNECT_SECONDS`, unless the project sets a timeout: the
    driver's own limit is minutes. Inside a transaction, an open connection is not tested.
    Unless `fresh`, see Note [Sessions in use].
    """
    connection = connections[database]
    in_use = not fresh and connection in _answered and _is_in_use(connection)
    try:
        if connection.connection is None:
            connect(connection)
        if not (in_use or connection.in_atomic_block or connection.is_usable()):
            connection.close()
            connect(connection)
    except Error as error:
        connection.close()
        if is_crowded(error):
            crowded = f"max_connections of {server(database)} is reached: {FEWER}"
            raise TooManyConnections(database, crowded) from error
        why = words_of(error, connection.vendor) if code_of(error) else error
        raise DatabaseUnreachable(database, why) from error
    connection.health_check_done = True  # type: ignore[attr-defined]  # not in the stubs
    if not in_use and hasattr(connection.connection, "fileno"):
        _answered[connection] = connection.connection, time.monotonic()


def _is_in_use(connection: BaseDatabaseWrapper) -> bool:
    """Return whether the session need not be asked. See Note [Sessions in use]."""
    session, answered_at = _answered[connection]
    if session is not connection.connection or connection.errors_occurred:
        return False
    if time.monotonic() - answered_at >= IN_USE_SECONDS:
        return False
    poll = select.poll()
    try:
        poll.register(session.fileno(), select.POLLIN)
    except Exception:  # noqa: BLE001 (whatever a driver raises where it is closed already)
        return False
    return not poll.poll(0)


def connect(connection: BaseDatabaseWrapper) -> None:
    """Open a connection within the time that it may take."""
    given = connection.settings_dict
    options = given.get("OPTIONS", {})
    # A pool keeps the options of its first connection, for other threads as well.
    named = {"connect_timeout", "pool"} & {*options}
    if connection.vendor in SILENT_WHEN_GONE and not named:
        options = {**options, "connect_timeout": CONNECT_SECONDS}
        connection.settings_dict = {**given, "OPTIONS": options}
    try:
        connection.ensure_connection()
    finally:
        connection.settings_dict = given


def make_room(database: str, among: Collection[str], most: int) -> None:
    """Close the connections that this thread has not used for longest: `database` comes next.

    Of the aliases `among`, at most `most` keep their connection, that of `database` included. One
    in a transaction always does.
    """
    used: list[str] = _used.__dict__.setdefault("aliases", [])
    used[:] = [*(alias for alias in used if alias != database), database]
    others = {
        connection.alias: connection
        for connection in connections.all(initialized_only=True)
        if connection.connection is not None and connection.alias in {*among} - {database}
    }
    oldest_first = sorted(others, key=lambda alias: used.index(alias) if alias in used else -1)
    for alias in oldest_first[: max(0, len(others) + 1 - most)]:
        if not others[alias].in_atomic_block:
            others[alias].close()


@contextlib.contextmanager
def given_up(database: str, interrupts: Interrupts) -> Iterator[None]:
    """Within a transaction of `database`: close the connection on one of `interrupts`.

    A rollback would wait for a database that does not answer, past every time limit.
    """
    try:
        yield
    except interrupts:
        connections[database].close()
        raise


@contextlib.contextmanager
def watched(database: str) -> Iterator[None]:
    """Raise `DatabaseHindered` in place of an error that says that a database is hindered.

    Every other error passes. See `require_working`.
    """
    try:
        yield
    except Error as error:
        require_working(database, error)
        raise


def require_working(database: str, error: Exception) -> None:
    """Raise `DatabaseHindered` where `error` says that a database is hindered.

    It names the database whose connection raised the error: work on `database` asks the parents'
    databases and the log, too.
    """
    if not isinstance(error, Error):
        return
    alias = database_of(error) or database
    if trouble_of(error, connections[alias].vendor) is Trouble.HINDERED:
        _require_connection(alias, error)
    elif not code_of(error):
        reach(alias)


@contextlib.contextmanager
def tolerated(using: str) -> Iterator[None]:
    """Log a warning where the log in `using` is hindered, so that work on other logs goes on."""
    try:
        with watched(using):
            yield
    except DatabaseHindered as raised:
        warn_once(f"a deletion log: {raised.database} {raised.sentence}")


def warn_once(line: str) -> None:
    """Log a warning, unless this process logged the same within `AGAIN_SECONDS`."""
    now = time.monotonic()
    if now - _warned.get(line, -AGAIN_SECONDS) >= AGAIN_SECONDS:
        _warned[line] = now
        logger.warning(line)
    for text, at in list(_warned.items()):  # other threads warn meanwhile
        if now - at > AGAIN_SECONDS:
            _warned.pop(text, None)


def is_alive(database: str) -> bool:
    """Return whether `database` answers a new connection within `ALIVE_SECONDS`.

    A frozen server accepts a connection and never answers, and the project may have set no timeout
    for that. So a thread connects; it ends with its attempt, or with the process.
    """
    answered = threading.Event()

    def connect() -> None:
        with contextlib.suppress(Exception):
            reach(database)
            answered.set()
        connections[database].close()

    threading.Thread(target=connect, daemon=True).start()
    return answered.wait(ALIVE_SECONDS)


def _require_connection(alias: str, error: Error) -> None:
    """Raise `DatabaseHindered`, unless the connection works and the error has no code.

    Note [Stale sessions]: a session keeps the state that the server had when the session began: it
    may be read-only by a setting of its database, or belong to a server that was replaced since. So
    the connection is closed, and the next probe sees the current state.
    """
    connection = connections[alias]
    working = connection.in_atomic_block or connection.is_usable() if connection.connection else 0
    reach(alias)
    if code_of(error) or not working:
        if not connection.in_atomic_block:
            connection.close()
        raise DatabaseHindered(alias, words_of(error, connection.vendor)) from error
