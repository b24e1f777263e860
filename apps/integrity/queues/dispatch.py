"""Split recorded deletions into cascades, one for each child database; find what is due.

Deletions are found by their state, never by `id > last`: a lower id may commit later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import conf, scan
from ..backends.connections import tolerated
from ..control import circuit_breaker
from ..log import claims, deletions, retry
from ..relations import discovery

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The largest number of workers that one burst of deletions wakes for a child database.
WORKERS_MAX = 8


def fan_out(using: str) -> Iterator[tuple[int, frozenset[str]]]:
    """Dispatch all recorded deletions of one log, a transaction at a time.

    Yield after each transaction the number of deletions and the child databases with new work. The
    first transaction takes as many deletions as one claim and each later one twice as many, so
    that work begins while the rest is dispatched. Processes that dispatch at the same time share
    the deletions. Raises `UnknownName` for a database without a log.
    """
    using = discovery.log_database(using)
    number = limit = first_limit()
    while number == limit:  # fewer: none is left, and later deletions send their own message
        number, databases = deletions.dispatch(using=using, limit=limit)
        yield number, databases
        if number == limit:
            number = limit = min(2 * limit, conf.current().dispatch_keys)


def first_limit() -> int:
    """Return how many deletions the first transaction of `fan_out` takes at most."""
    settings = conf.current()
    return min(settings.claim_keys, settings.dispatch_keys)


def dispatch_some(using: str) -> tuple[frozenset[str], bool]:
    """Dispatch the oldest recorded deletions of one log, in one transaction.

    Return the child databases with new work, and whether more deletions may be recorded.
    """
    number, databases = next(fan_out(using))
    return databases, number == first_limit()


def overdue(using: str) -> frozenset[str]:
    """Return the child databases with due cascades.

    Cascades that have killed several workers are blocked first.
    """
    retry.block_lost(using=using)
    return claims.due_databases(using=using)


def sweep(using: str) -> tuple[int, frozenset[str]]:
    """Dispatch one log. Return the number of deletions, and each child database with due work."""
    number = sum(dispatched for dispatched, _ in fan_out(using))
    return number, overdue(discovery.log_database(using))


def scans_due() -> list[str]:
    """Return the child databases with a scan that is due, from every log that answers."""
    due = [scan.due_databases(using=using) for using in circuit_breaker.answering_logs()]
    return sorted({alias for databases in due for alias in databases})


def workers_to_wake(dispatched: int) -> int:
    """Return how many workers of a child database to wake for that many new deletions. Pure.

    One for each claim, up to `WORKERS_MAX`. A worker that finds nothing left costs one query.
    """
    return min(-(-max(dispatched, 1) // conf.current().claim_keys), WORKERS_MAX)


def sweep_all() -> tuple[int, frozenset[str]]:
    """Dispatch every log that answers. Return the total, and all databases with due work."""
    total, due = 0, frozenset[str]()
    for using in circuit_breaker.answering_logs():
        with tolerated(using):
            number, databases = sweep(using)
            total, due = total + number, due | databases
    return total, due
