"""Recorded deletions → cascades, one per child database → the databases that have work.

Found by state, never by `id > last`: a lower id may commit later.
"""

from __future__ import annotations

from . import conf, control, log, relations

#: Workers of one child database that a burst of deletions wakes at once.
HANDS_MAX = 8


def sweep(using: str) -> tuple[int, frozenset[str]]:
    """Dispatch all recorded deletions of one log, and block cascades that kill their workers.

    Gives the number dispatched and the child databases that have due cascades now. Several
    sweeps at once share the work. Raises `UnknownName` for a database without a log.
    """
    using = relations.log_database(using)
    limit, total = conf.current().dispatch_keys, 0
    number = limit
    while number == limit:  # less is all that was there: what came since has its own wake-up
        number = log.dispatch(using=using, limit=limit)
        total += number
    log.block_lost(using=using)
    return total, log.due_databases(using=using)


def hands(dispatched: int) -> int:
    """How many workers of one child database are woken for so many new deletions. Pure.

    One for each claim, a few at most: those for whom nothing is left look once and go.
    """
    return min(-(-max(dispatched, 1) // conf.current().claim_keys), HANDS_MAX)


def sweep_all() -> tuple[int, frozenset[str]]:
    """`sweep` over every log of the project that answers."""
    total, due = 0, frozenset[str]()
    for using in control.answering_logs():
        number, databases = sweep(using)
        total, due = total + number, due | databases
    return total, due
