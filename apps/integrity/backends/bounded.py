"""Reads inside a request: bounded waits for locks, and an error where the server filters rows.

PostgreSQL and MySQL need settings for that. The session's own settings are restored. A plain read
waits for no row on MySQL, but for a table that DDL has locked: by the server's default for a day.
"""

from __future__ import annotations

import functools
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from django.db import Error, connections, transaction

from ..exceptions import FilteredRead
from . import visibility
from .errors import is_row_security
from .mysql import session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import Model

#: `true`: for this transaction only.
_SET = "set_config('lock_timeout', '{wait}', true), set_config('row_security', '{rls}', true)"
_NOW = "current_setting('lock_timeout'), current_setting('row_security')"
#: Why the server may hide rows of one of the tables; NULL where it hides none.
_CAUSE = (
    f"(SELECT min({visibility.CAUSE}) FROM unnest(%s::text[]) AS wanted (name),"
    f" {visibility.SHOWN} = pg_catalog.to_regclass(wanted.name))"
)

#: The time limit for a statement, in milliseconds; 0 for none.
_TIME = "SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'statement_timeout'"
_SET_TIME = "SELECT set_config('statement_timeout', %s, true)"


class _Hidden(Exception):
    """The server may hide rows of a table that is read."""


@contextmanager
def bounded_read(alias: str, lock_seconds: float, *models: type[Model]) -> Iterator[None]:
    """Let statements of the block wait at most `lock_seconds` for a lock.

    Raises `FilteredRead` where the server may hide rows of the tables of `models`.

    Outside a transaction, the settings and the question are sent along with each statement, at no
    extra round trip: PostgreSQL runs a message of two statements as one transaction. Inside a
    transaction they run before the block and are undone after it, and an error leaves the caller's
    transaction usable.
    """
    connection = connections[alias]
    try:
        if connection.vendor != "postgresql":
            _refuse_hidden(models, alias)
            with session.bounded(alias, lock_seconds):
                yield
        elif _takes_two_statements(connection):
            prefix = functools.partial(_prefixed, _settings(lock_seconds), _names(models, alias))
            with connection.execute_wrapper(prefix):
                yield
        else:
            with transaction.atomic(using=alias), _set_for_now(connection, lock_seconds, models):
                yield
    except (_Hidden, Error) as error:
        if isinstance(error, Error) and not is_row_security(error):
            raise
        _refuse_hidden(models, alias)
        raise visibility.refusal(models[0], alias) from error  # the cause was just removed


@contextmanager
def timed_read(alias: str, seconds: float) -> Iterator[None]:
    """Limit each SELECT of the block to `seconds`, but on SQLite. Raises the server's error.

    On PostgreSQL, the block is one transaction, or a part of the caller's, which stays usable.
    """
    connection = connections[alias]
    if connection.vendor != "postgresql":
        is_mysql = connection.vendor == "mysql"
        with session.timed(alias, seconds) if is_mysql else nullcontext():
            yield
        return
    with transaction.atomic(using=alias), connection.cursor() as cursor:
        cursor.execute(_TIME)
        (before,) = cursor.fetchone()
        most = min(filter(None, (before, max(1, round(seconds * 1000)))))
        cursor.execute(_SET_TIME, [f"{most}ms"])
        yield
        cursor.execute(_SET_TIME, [f"{before}ms"])


def _refuse_hidden(models: tuple[type[Model], ...], alias: str) -> None:
    for model in models:
        if why := visibility.reason(model, alias):
            raise FilteredRead(model._meta.db_table, alias, why)


def _takes_two_statements(connection: BaseDatabaseWrapper) -> bool:
    options = connection.settings_dict.get("OPTIONS", {})
    return connection.get_autocommit() and not options.get("server_side_binding")


def _settings(lock_seconds: float) -> str:
    wait = max(1, round(lock_seconds * 1000))
    return _SET.format(wait=f"{wait}ms", rls="off")


def _names(models: tuple[type[Model], ...], alias: str) -> list[str]:
    quote = connections[alias].ops.quote_name
    return [quote(model._meta.db_table) for model in models]


@contextmanager
def _set_for_now(
    connection: BaseDatabaseWrapper, lock_seconds: float, models: tuple[type[Model], ...]
) -> Iterator[None]:
    names = _names(models, connection.alias)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {_NOW}, {_CAUSE}, {_settings(lock_seconds)}", [names])
        wait, rls, cause, *_ = cursor.fetchone()
        if cause:
            raise _Hidden
        yield
        cursor.execute(f"SELECT {_SET.format(wait=wait, rls=rls)}")


def _prefixed(
    settings: str,
    names: list[str],
    execute: Callable[..., Any],
    sql: str,
    params: Any,
    many: bool,  # noqa: FBT001 (Django's signature)
    context: dict[str, Any],
) -> Any:
    given = (names, *(params or ()))
    own = sql if params else sql.replace("%", "%%")
    result = execute(f"SELECT {settings}, {_CAUSE}; {own}", given, many, context)
    if context["connection"].Database.__name__ == "psycopg":  # psycopg2 gives the last answer alone
        cursor = context["cursor"]
        if cursor.fetchone()[-1]:
            raise _Hidden
        cursor.nextset()
    return result
