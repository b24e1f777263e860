"""Rows whose statements are run again when another transaction was in their way."""

from __future__ import annotations

import functools
import random
import time
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import OperationalError, connections
from django.db.models import Model, QuerySet

from ..exceptions.redaction import code_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

R = TypeVar("R")
M = TypeVar("M", bound=Model)

#: How often a transaction is tried, and the longest rest before the second time, in seconds.
TRIES, REST_SECONDS = 8, 0.02
#: Deadlocks and conflicts of snapshots. The end of a wait for a lock is none: it took long.
REPEATED = frozenset({"1020", "1213", "40001", "40P01"})


def again(run: Callable[[], R], error: OperationalError) -> R:
    """Run a function again, with rests, after the error that ended its first time."""
    for number in range(1, TRIES):
        if code_of(error) not in REPEATED:
            raise error
        time.sleep(random.SystemRandom().uniform(0, REST_SECONDS * 2**number))
        try:
            return run()
        except OperationalError as another:
            error = another
    raise error


def _again(write: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(write)
    def run(self: QuerySet[Any], *args: Any, **options: Any) -> Any:
        try:
            return write(self, *args, **options)
        except OperationalError as error:
            if connections[self.db].in_atomic_block:
                raise
            return again(lambda: write(self, *args, **options), error)

    return run


_bulk_create = _again(QuerySet.bulk_create)


class LogQuerySet(QuerySet[M]):
    """Rows whose single statements are run again after a deadlock.

    A statement that is a transaction of its own is repeated: MySQL may end any of them so. In a
    transaction nothing is, because the server may have undone all of it; see `retried` in
    `backends.transactions`, which repeats whole functions.
    """

    if not TYPE_CHECKING:  # the types are Django's
        update = _again(QuerySet.update)
        delete = _again(QuerySet.delete)
        create = _again(QuerySet.create)
        get_or_create = _again(QuerySet.get_or_create)
        _raw_delete = _again(QuerySet._raw_delete)

        def bulk_create(self, objs: Iterable[M], *args: Any, **options: Any) -> list[M]:
            """Create the rows; see `QuerySet.bulk_create`."""
            rows = [*objs]  # a generator could be read once only
            return _bulk_create(self, rows, *args, **options)


class LogModel(Model):
    """A table of the app."""

    if not TYPE_CHECKING:
        objects = LogQuerySet.as_manager()

    class Meta:
        abstract = True
