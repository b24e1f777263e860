"""Refuse to drop the app's tables while deletions are recorded in them, or work is open.

`migrate integrity zero` calls this before it drops the tables of a database. The log's tables are
locked first, in the transaction of the migration: so the counts include every deletion recorded so
far, and no deletion is recorded afterwards.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from django.db import Error

from .. import conf, relations
from ..backends import table_locks
from ..exceptions import LogNeeded
from ..exceptions.redaction import reason_of_error
from ..log import deletions
from ..models import Cascade, Deletion
from ..report.lengths import number_of
from ..report.totals import sum_of
from . import renames

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import QuerySet

#: A noun, and what the counted ones are.
NOT_DISPATCHED, NOT_DONE = ("deletion", "not dispatched"), ("cascade", "not done")
BLOCKED, NOT_VERIFIED = ("cascade", "blocked"), ("cascade", "not verified")
#: A cascade's state → the words that it is counted under.
WORDS = {
    **dict.fromkeys(Cascade.CLAIMABLE, NOT_DONE),
    Cascade.State.BLOCKED: BLOCKED,
    Cascade.State.DONE: NOT_VERIFIED,
}


def require_done(using: str) -> None:
    """Raise `LogNeeded` with what is left to do where that database's tables are still needed."""
    if conf.current().drop_log:
        return
    log_tables = [model._meta.db_table for model in (Deletion, Cascade)]
    if renames.has_log(using) and (held := table_locks.lock_tables(using, log_tables)):
        raise LogNeeded(using, [f"the log is held by {held}: end it, or wait until it has ended"])
    if reasons := [*_recorded(using), *_left(using)]:
        raise LogNeeded(using, reasons)


def _recorded(using: str) -> Iterator[str]:
    """Yield which deletions are still recorded, in this database or for it."""
    parents = {
        relation.parent._meta.label
        for relation in relations.catalogue().relations
        if using in {*relation.parent_databases, *relation.child_databases}
    }
    if recorded := sorted(label for label in parents if not conf.current().is_off(label)):
        yield (
            f"deletions of {', '.join(recorded)} are recorded, and would fail without the log: set"
            ' INTEGRITY = {"capture": "off"} in every process and run `manage.py migrate`'
        )


def _left(using: str) -> Iterator[str]:
    """Yield the open work of this log, and the work into this database in the other logs."""
    counts: Counter[tuple[str, str]] = Counter()
    # Includes this database even where the catalogue has no relations, and so knows no log.
    for alias in dict.fromkeys((*relations.log_databases(), using)):
        try:
            if renames.has_log(alias):
                counts += _open(alias, database=None if alias == using else using)
        except Error as error:
            yield f"the log in {alias} cannot be read: {reason_of_error(error)}"
    if counts:
        work = ", ".join(
            f"{number_of(number, noun)} {how}" for (noun, how), number in counts.items()
        )
        retry = " (after `manage.py integrity retry --all`)" if counts[BLOCKED] else ""
        yield f"{work}: run `manage.py integrity drain --verify` until it ends with 0{retry}"


def _open(log_database: str, *, database: str | None) -> Counter[tuple[str, str]]:
    """Count the open work of one log: all of it, or the work into one child database."""
    cascades: QuerySet[Cascade] = Cascade.objects.using(log_database)
    recorded = Deletion.objects.using(log_database).filter(Deletion.IS_RECORDED)
    if database is not None:
        cascades = cascades.filter(database=database)
        recorded = recorded.filter(deletions.leading(database))
    counts = Counter({NOT_DISPATCHED: recorded.count()})
    for state, word in WORDS.items():
        counts[word] += sum_of("size", cascades.filter(state=state))
    return +counts
