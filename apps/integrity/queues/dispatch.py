"""Recorded deletions → cascades, one per child database → the databases that have work.

Found by state, never by `id > last`: a lower id may commit later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import conf, log
from ..backends.connections import tolerated
from ..control import circuit_breaker
from ..relations import discovery

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Workers of one child database that a burst of deletions wakes at once.
HANDS_MAX = 8


def fan_out(using: str) -> Iterator[tuple[int, frozenset[str]]]:
    """Dispatch all recorded deletions of one log, a transaction at a time.

    Gives after each how many it dispatched and where there is work now. The first one is a claim's
    worth, each next one twice as much: the work begins while the rest is dispatched. Several at
    once share it. Raises `UnknownName` for a database without a log.
    """
    using, settings = discovery.log_database(using), conf.current()
    number = limit = min(settings.claim_keys, settings.dispatch_keys)
    while number == limit:  # less is all that was there: what came since has its own wake-up
        number, databases = log.dispatch(using=using, limit=limit)
        yield number, databases
        if number == limit:
            number = limit = min(2 * limit, settings.dispatch_keys)


def overdue(using: str) -> frozenset[str]:
    """Child databases with due cascades, once those that kill their workers are blocked."""
    log.block_lost(using=using)
    return log.due_databases(using=using)


def sweep(using: str) -> tuple[int, frozenset[str]]:
    """`fan_out` one log; gives the number dispatched and every child database with due cascades."""
    number = sum(dispatched for dispatched, _ in fan_out(using))
    return number, overdue(discovery.log_database(using))


def hands(dispatched: int) -> int:
    """How many workers of one child database are woken for so many new deletions. Pure.

    One for each claim, a few at most: those for whom nothing is left look once and go.
    """
    return min(-(-max(dispatched, 1) // conf.current().claim_keys), HANDS_MAX)


def sweep_all() -> tuple[int, frozenset[str]]:
    """`sweep` over every log of the project that answers."""
    total, due = 0, frozenset[str]()
    for using in circuit_breaker.answering_logs():
        with tolerated(using):
            number, databases = sweep(using)
            total, due = total + number, due | databases
    return total, due
