"""Transactions of this app, and what to do when another one is in the way of the log's."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from django.db import OperationalError, connections

from ..models.querysets import again
from .errors import database_of
from .selection import transaction_class

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.transaction import Atomic

P = ParamSpec("P")
R = TypeVar("R")


def atomic(using: str) -> Atomic:
    """Return a transaction that writes, and whose statements see what was committed before each.

    Inside another transaction it is a part of that one.
    """
    return transaction_class(using)(using, savepoint=True, durable=False)


def retried(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function again, after a rest, when another transaction was in its way.

    It is one transaction of the log, or several that may be done again. Inside a transaction of the
    caller it is not repeated: the server may have undone all of that one.
    """

    @functools.wraps(function)
    def run(*args: P.args, **options: P.kwargs) -> R:
        try:
            return function(*args, **options)
        except OperationalError as error:
            alias = database_of(error)
            if not alias or connections[alias].in_atomic_block:
                raise
            return again(lambda: function(*args, **options), error)

    return run


def require_whole(using: str, error: Exception) -> None:
    """Raise `error` again where it has undone the transaction around the one that it ended.

    MySQL does so when it breaks a deadlock: what follows in that transaction would be done alone.
    """
    connection = connections[using]
    if connection.in_atomic_block and connection.needs_rollback:
        raise error
