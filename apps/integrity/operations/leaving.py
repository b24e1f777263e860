"""Whether the app's tables may be dropped: nothing is recorded any more, and no work is open.

Takes a database that `migrate integrity zero` is about to empty; raises `LogNeeded` with what is
left to do. The tables are locked first, in the migration's own transaction: what is recorded
meanwhile is counted, and nothing is recorded after it.
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
from . import renames

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import QuerySet

NOT_DISPATCHED, NOT_DONE = "deletions not dispatched", "cascades not done"
BLOCKED, NOT_VERIFIED = "cascades blocked", "cascades not verified"
#: A cascade's state → what it is counted as.
WORDS = {
    **dict.fromkeys(Cascade.CLAIMABLE, NOT_DONE),
    Cascade.State.BLOCKED: BLOCKED,
    Cascade.State.DONE: NOT_VERIFIED,
}


def require_done(using: str) -> None:
    """Raise `LogNeeded` where tables of the app in that database are still needed."""
    if conf.current().drop_log:
        return
    log_tables = [Deletion._meta.db_table, Cascade._meta.db_table]
    if renames.has_log(using) and (held := table_locks.lock_tables(using, log_tables)):
        raise LogNeeded(using, [f"the log is held by {held}: end it, or wait until it has ended"])
    if reasons := [*_recorded(using), *_left(using)]:
        raise LogNeeded(using, reasons)


def _recorded(using: str) -> Iterator[str]:
    """What goes on recording deletions, or needs this database for them."""
    parents = {
        each.parent._meta.label
        for each in relations.catalogue().relations
        if using in {*each.parent_databases, *each.child_databases}
    }
    if on := sorted(each for each in parents if not conf.current().is_off(each)):
        yield (
            f"deletions of {', '.join(on)} are recorded, and would fail without the log: set"
            ' INTEGRITY = {"capture": "off"} in every process and run `manage.py migrate`'
        )


def _left(using: str) -> Iterator[str]:
    """The work that is open in this log, and into this database in the others."""
    found: Counter[str] = Counter()
    # This one is asked even where today's catalogue has no relations, and so knows no log.
    for each in dict.fromkeys((*relations.log_databases(), using)):
        try:
            if renames.has_log(each):
                found += _open(each, database=None if each == using else using)
        except Error as error:
            yield f"the log in {each} cannot be asked: {reason_of_error(error)}"
    if found:
        told = ", ".join(f"{number:,} {word}" for word, number in found.items())
        retry = " (after `manage.py integrity retry --all`)" if found[BLOCKED] else ""
        yield f"{told}: run `manage.py integrity drain --verify` until it ends with 0{retry}"


def _open(log_database: str, *, database: str | None) -> Counter[str]:
    """Count what one log has to do: all of it, or what goes into one child database."""
    cascades: QuerySet[Cascade] = Cascade.objects.using(log_database)
    recorded = Deletion.objects.using(log_database).filter(state=Deletion.State.RECORDED)
    if database is not None:
        cascades = cascades.filter(database=database)
        recorded = recorded.filter(deletions.leading(database))
    found = Counter({NOT_DISPATCHED: recorded.count()})
    for state, word in WORDS.items():
        found[word] += cascades.filter(state=state).count()
    return +found
