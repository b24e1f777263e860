"""Checks whether a child database or its parents' database was restored from a backup.

The log says which cascades changed rows, and the child's tally says the same (log/tallies.py). Each
is written in a database of its own, so a restore takes one of them back and not the other.

Note [Which side lacks it]: a tally is written before the log knows of the rows, and a cascade is in
the log before it is counted. So the log is read first, then the child, then the log once more for
what it did not list. A cascade that is done and whose counts are missing proves that the child lost
changes: rows that were deleted are back. Counts of a cascade that the log does not know prove that
the log lost deletions: their parents may be back, without these rows. Only the newest of both are
read, and none that the purge may have removed.
"""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db.models import BooleanField, ExpressionWrapper, Q

from .. import conf
from ..log import ledger, tables, tallies
from ..models.moments import ServerNow
from . import identity

if TYPE_CHECKING:
    from uuid import UUID

#: How many cascades of the log are read, and how many tallies of the child.
NEWEST = 500
#: This process looks at a database once in so many seconds. It is less than the grace period, so no
#: orphan is repaired before somebody has looked.
SECONDS = 30.0
_looked: dict[tuple[str, str], float] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """How many cascades one side knows of, and the other does not."""

    #: Done by the log in `using`, and not counted in the child `database`.
    uncounted: int
    #: Counted in the child's database, and unknown to the log.
    unknown: int


def reason_of(evidence: Evidence, database: str, using: str) -> str:
    """Return why no work on the child database may go on, or "". Pure."""
    if evidence.uncounted:
        return (
            f"it was restored from a backup: {database!r} has lost what"
            f" {_cascades(evidence.uncounted)} of the log in {using!r} did there, so rows that were"
            f" deleted may be back. {_remedy('', database)}"
        )
    if evidence.unknown:
        return (
            f"the log in {using!r} was restored from a backup: {database!r} has counted rows of"
            f" {_cascades(evidence.unknown)} that this log does not know, so their parents may be"
            f" back without these rows. {_remedy('--parents ', database)}"
        )
    return ""


def _remedy(option: str, database: str) -> str:
    return (
        f"To erase that again: `manage.py integrity replay {option}--database {database}`. To go on"
        f" with both as they are: `manage.py integrity resume --database {database}"
        " --accept-restore`"
    )


def _cascades(number: int) -> str:
    return f"{number:,} cascade{'s' * (number != 1)}"


def is_due(database: str, *, using: str) -> bool:
    """Return whether this process has to look again."""
    return time.monotonic() - _looked.get((database, using), -SECONDS) >= SECONDS


def reason(database: str, *, using: str) -> str:
    """Return why no work on the child database may go on, or "". Only reads.

    Two statements, where neither was restored. Raises the errors of both databases.
    """
    if not tallies.is_kept_in(database):
        return ""
    found = reason_of(seen(database, using=using), database, using)
    _looked[database, using] = time.monotonic()
    return found


def seen(database: str, *, using: str) -> Evidence:
    """Compare the newest of both sides. See Note [Which side lacks it]."""
    recent = ServerNow() - dt.timedelta(days=conf.current().retention_days / 2)
    done = _done(database, recent, using)
    newest = tallies.newest(database, log=identity.of_log(using), since=recent, most=NEWEST)
    uncounted = done - newest.keys()
    if uncounted:
        uncounted -= tallies.held_in(database, uncounted)
    unlisted = {tally: batch for tally, batch in newest.items() if tally not in done}
    known = tallies.known_in(using, unlisted.values())
    unknown = {
        tally
        for tally, batch in unlisted.items()
        if not {tally, None} & known.get(batch, set())  # None: which one it was is not known
    }
    if unknown:  # `integrity replay --parents` has recorded some again
        unknown = ledger.unsettled(database, unknown, using=using)
    return Evidence(uncounted=len(uncounted), unknown=len(unknown))


def _done(database: str, recent: object, using: str) -> set[UUID]:
    """Return the tallies of cascades with rows among the newest that are done."""
    rows = tables.cascades(using).filter(database=database, done_at__isnull=False)
    changed = Q(rows__isnull=False) & (Q(ended_at__isnull=True) | Q(ended_at__gt=recent))
    columns = rows.annotate(changed=ExpressionWrapper(changed, BooleanField()))
    newest = columns.order_by("-done_at").values_list("tally", "changed")[:NEWEST]
    return {tally for tally, changed in newest if changed and tally is not None}


def accept(database: str, *, using: str) -> None:
    """Let both sides count as they are from now on."""
    rows = tables.cascades(using).filter(database=database, done_at__isnull=False)
    done = list(rows.order_by("-done_at").values_list("pk", flat=True)[:NEWEST])
    tallies.accept(database, done, log=identity.of_log(using), using=using)
