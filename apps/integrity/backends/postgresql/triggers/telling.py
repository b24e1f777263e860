"""Tells triggers what is stated of the deletes of a transaction, by settings of that transaction.

Note [Said once]: before the first statement of a transaction that may delete, one more statement
sets the settings, and it sets them again only where something else is stated. PostgreSQL undoes
that at the end of the transaction, and where a savepoint is rolled back: then the next one that may
delete tells again. Where nothing is stated no statement is added, unless something else was said
in the same transaction. A DELETE in autocommit gets a transaction, because it has none of its own
that the settings could be set in.

Note [Which transaction]: Django replaces `run_on_commit` at the end of each, so its identity tells
transactions apart.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction
from django.db.backends.signals import connection_created

from ....models import Stated
from .functions import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django.db.backends.base.base import BaseDatabaseWrapper

SAY = "SELECT " + ", ".join(f"set_config('{name}', %s, true)" for name in SETTINGS.values())
#: What may delete rows. Functions that a SELECT calls cannot be told.
DELETES = re.compile(r"\bdelete\b|^\s*(?:call|do|execute)\b", re.IGNORECASE)
#: What may be put into a transaction. CALL and DO may begin and end their own.
ALONE = re.compile(r"\s*(?:delete|with|merge)\b", re.IGNORECASE)
UNDOES = re.compile(r"\s*rollback\s+(?:work\s+|transaction\s+)?to\b", re.IGNORECASE)
NOTHING = Stated()


class Teller:
    """Tells the triggers of one connection; a wrapper of its statements."""

    def __init__(self, current: Callable[[], Stated | None], is_stated: Callable[[], bool]) -> None:
        self._current, self._is_stated = current, is_stated
        #: What was said, and in which transaction: see Note [Which transaction]. None: in none.
        self._said: Stated | None = None
        self._spoken_in: list[Any] | None = None

    def __call__(
        self,
        execute: Callable[..., Any],
        sql: Any,
        params: Any,
        many: bool,  # noqa: FBT001 (Django's signature)
        context: Mapping[str, Any],
    ) -> Any:
        """Execute a statement; before, tell its transaction what is stated, if it may delete."""
        if self._spoken_in is None and not self._is_stated():
            return execute(sql, params, many, context)
        connection = context["connection"]
        text = _text_of(sql, context["cursor"])
        if UNDOES.match(text):
            self._said = None  # it is not known what the savepoint began with
            if self._spoken_in is not None:
                self._spoken_in = _UNKNOWN
            return execute(sql, params, many, context)
        stands_alone = connection.get_autocommit()
        self._forget_the_last(connection, stands_alone=stands_alone)
        if not DELETES.search(text):
            return execute(sql, params, many, context)
        stated = self._current() or NOTHING
        if not stands_alone:
            self._say(stated, connection)
        elif any(stated) and ALONE.match(text):
            with transaction.atomic(using=connection.alias):
                self._say(stated, connection)
                return execute(sql, params, many, context)
        return execute(sql, params, many, context)

    def _forget_the_last(self, connection: BaseDatabaseWrapper, *, stands_alone: bool) -> None:
        """Forget what was said in a transaction that has ended."""
        is_over = self._spoken_in is not connection.run_on_commit
        if stands_alone or (is_over and self._spoken_in is not _UNKNOWN):
            self._spoken_in = None

    def _say(self, stated: Stated, connection: BaseDatabaseWrapper) -> None:
        if self._spoken_in is None and stated == NOTHING:
            return
        if self._spoken_in is None or self._said != stated or not connection.in_atomic_block:
            with connection.cursor() as cursor:
                cursor.execute(SAY, stated)
        self._said, self._spoken_in = stated, connection.run_on_commit


def _text_of(sql: Any, cursor: Any) -> str:
    """Return a statement as text; it may be bytes, or composed by the driver."""
    if isinstance(sql, bytes):
        return sql.decode(errors="replace")
    return sql if isinstance(sql, str) else str(sql.as_string(cursor.connection))


#: Stands for a transaction in which a savepoint was rolled back, if it goes on.
_UNKNOWN: list[Any] = []
UID = "integrity.telling"


def connect(current: Callable[[], Stated | None], is_stated: Callable[[], bool]) -> None:
    """Tell the triggers of each connection of this process to a PostgreSQL database."""

    def add(connection: BaseDatabaseWrapper, **_: object) -> None:
        wrappers = connection.execute_wrappers
        if connection.vendor == "postgresql" and not any(isinstance(w, Teller) for w in wrappers):
            # At the beginning: `connection.execute_wrapper()` removes the last one at its end.
            wrappers.insert(0, Teller(current, is_stated))

    connection_created.connect(add, weak=False, dispatch_uid=UID)
    for connection in connections.all(initialized_only=True):
        add(connection)


def disconnect() -> None:
    """Undo `connect`; connections of other threads keep their wrappers until they are closed."""
    connection_created.disconnect(dispatch_uid=UID)
    for connection in connections.all(initialized_only=True):
        wrappers = connection.execute_wrappers
        wrappers[:] = [each for each in wrappers if not isinstance(each, Teller)]
