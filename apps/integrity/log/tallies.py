"""The tallies in child databases: the rows that cascades changed, counted where they changed.

A step of a cascade writes its tally in the transaction that changes the rows. So a worker that dies
on the next line takes no count with it: whoever works on the cascade next reads the sums.

Note [Absolute sums]: each time slice has rows of its own, which hold all that it has changed. So a
worker that lost its claim still counts what it changes, and counts it once. The sums replace what
the log says; they are never added to it. If the log says more, the child's database has lost rows
of the tally, and changes of the project's rows with them: see control/restores.py.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from .. import backends, conf
from ..backends import missing_tables
from ..backends.connections import warn_once
from ..backends.transactions import atomic, retried
from ..models import Cascade, Tally
from ..models.moments import ServerNow
from . import outcomes, parts, tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.db.models import QuerySet

    from .renaming import Renaming
    from .values import Claim

#: Deletion → label → rows.
Rows = Mapping[int, Mapping[str, int]]
#: Tally → deletion → label → the rows that time slices have changed.
Sums = dict[UUID, dict[int, Counter[str]]]
#: How many cascades are looked at that were cancelled, or kept, in the last so many seconds.
ENDED, ENDED_SECONDS = 50, 3_600.0
#: Tallies that one statement of the purge looks at, and how many of these a purge runs.
PURGED, PURGES = 500, 20
#: The batch of a row that counts nothing: an operator accepted a restore then.
ACCEPTED = 0
#: The batch of the mark of a replay: Note [Marks] in undone.py.
REPLAYED = -1
#: Aliases that are known to have the table.
_migrated: set[str] = set()


def is_kept_in(database: str) -> bool:
    """Return whether a child database has the table; log a warning if not."""
    if database not in _migrated:
        if missing_tables.absent([Tally], using=database):
            warn_once(
                f"{database} cannot count the rows that cascades change: run `manage.py migrate"
                f" --database {database}`. Until then, receipts may count too few if a worker is"
                " killed"
            )
            return False
        _migrated.add(database)
    return True


def write(tallies: Sequence[Tally], *, database: str) -> None:
    """Write what a time slice has changed so far, in the transaction that changes it.

    One statement. See Note [Absolute sums].
    """
    backends.log_backend(database).write_tallies(tallies, using=database)


def counted(claim: Claim) -> dict[int, dict[str, int]]:
    """Return deletion → label → rows by the child's database, for deletions that it counts.

    At most one statement.
    """
    if claim.log is None or not claim.tallies:
        return {}
    return by_deletion(claim, sums_of(claim.tallies, database=claim.database))


def sums_of(tallies: Iterable[UUID], *, besides: Sequence[UUID] = (), database: str) -> Sums:
    """Return what was changed by all time slices, but for the rows with the ids of `besides`."""
    sums: Sums = {}
    rows = Tally.objects.using(database).filter(tally__in=sorted(tallies)).exclude(pk__in=besides)
    for tally, label, counts in rows.values_list("tally", "label", "counts"):
        add(sums, tally, label, counts)
    return sums


def add(sums: Sums, tally: UUID, label: str, counts: Mapping[str, int]) -> None:
    """Add one row of the tally to the sums."""
    found = sums.setdefault(tally, {})
    for pk, number in counts.items():
        found.setdefault(int(pk), Counter())[label] += number


def by_deletion(claim: Claim, sums: Sums) -> dict[int, dict[str, int]]:
    """Return deletion → label → rows, for the deletions of the claim that are counted. Pure."""
    return {
        one.id: dict(sums.get(one.tally, {}).get(one.id, {}))
        for one in claim.deletions
        if one.tally
    }


def folded(known: Rows, counts: Rows) -> dict[int, Mapping[str, int]]:
    """Return the rows of each deletion: what the child counted, unless more are known. Pure."""
    return {
        pk: counts[pk] if pk in counts and not _less(counts[pk], rows) else rows
        for pk, rows in known.items()
    }


def lost(claim: Claim, counts: Rows) -> list[int]:
    """Return the deletions of which the child's database counts less than the log. Pure."""
    return [
        one.id for one in claim.deletions if one.id in counts and _less(counts[one.id], one.rows)
    ]


def _less(counts: Mapping[str, int], rows: Mapping[str, int]) -> bool:
    """Return whether those are fewer. In total: relations may have been renamed meanwhile."""
    return sum(counts.values()) < sum(rows.values())


def tidy(database: str, *, log: UUID, using: str) -> None:
    """Count what was changed for deletions until they were cancelled or kept, and purge. Bounded.

    These are not verified. A step that began before may have been committed since.
    """
    cascades = tables.cascades(using).filter(
        database=database,
        state__in=[Cascade.State.CANCELLED, Cascade.State.KEPT],
        ended_at__gt=ServerNow() - dt.timedelta(seconds=ENDED_SECONDS),
        tally__isnull=False,
    )
    late = list(cascades.order_by("-ended_at")[:ENDED])
    sums = sums_of({one.tally for one in late if one.tally}, database=database) if late else {}
    for one in late:
        counts = sums.get(one.tally, {}) if one.tally else {}
        known = {pk: (one.rows or {}).get(str(pk), {}) for pk in one.deletions}
        correct(tables.cascades(using).filter(pk=one.pk), folded(known, counts), using=using)
    purge(database, log=log, using=using)


@retried
def correct(cascades: QuerySet[Cascade], rows: Rows, *, using: str) -> None:
    """Replace the rows of those deletions in the cascades that hold them. One transaction."""
    with atomic(using):
        for cascade in tables.locked(cascades.order_by("pk"), using, skip_locked=False):
            known = {int(pk): changed for pk, changed in (cascade.rows or {}).items()}
            now = {pk: rows.get(pk, known.get(pk, {})) for pk in cascade.deletions}
            document = outcomes.document(now, cascade.deletions)
            if document != cascade.rows:
                tables.cascades(using).filter(pk=cascade.pk).update(rows=document)


def newest(database: str, *, log: UUID, since: Any, most: int) -> dict[UUID, int]:
    """Return tally → batch, of the newest rows that a child's database has counted for a log.

    Those before an operator accepted a restore are left out (`accept`).
    """
    rows = Tally.objects.using(database).filter(log=log, at__gt=since).order_by("-at", "batch")
    found = dict[UUID, int]()
    for tally, batch in rows.values_list("tally", "batch")[:most]:
        if batch == ACCEPTED:
            break
        if batch != REPLAYED:
            found[tally] = batch
    return found


def held_in(database: str, wanted: Iterable[UUID | str]) -> set[UUID]:
    """Return those of the tallies that the child's database has."""
    rows = Tally.objects.using(database).filter(tally__in=sorted(wanted))
    return {*rows.values_list("tally", flat=True)}


def known_in(using: str, batches: Iterable[int]) -> dict[int, set[UUID | None]]:
    """Return batch → the tallies of its cascades in the log; None for one that is not counted."""
    known: dict[int, set[UUID | None]] = {}
    if named := sorted({*batches}):
        rows = tables.cascades(using).filter(tables.id_in("batch", named, using))
        for batch, tally in rows.values_list("batch", "tally"):
            known.setdefault(batch, set()).add(tally)
    return known


def accept(database: str, done: Sequence[int], *, log: UUID, using: str) -> None:
    """Let a restored database, or log, count as it is from now on.

    The rows of those cascades, and of all that are open, are no longer said to be counted.
    """
    cascades = tables.cascades(using).filter(database=database, tally__isnull=False)
    open_ = cascades.filter(rows__isnull=False, ended_at__isnull=True)
    for rows in (cascades.filter(tables.id_in("pk", done, using)), open_):
        parts.change_all(rows, {"tally": None}, using)
    mark(ACCEPTED, database, log=log)


def mark(batch: int, database: str, *, log: UUID) -> UUID:
    """Write a row that counts nothing, and whose batch says what it marks; return its number."""
    row = Tally(log=log, batch=batch, tally=uuid4(), label="", counts={}, at=ServerNow())
    Tally.objects.using(database).bulk_create([row])
    return row.tally


def purge(database: str, *, log: UUID, using: str) -> int:
    """Remove tallies older than `ledger_days`, of deletions that the log has no more.

    Return their number. They come after the log's rows, and for each child database by itself, so
    that none that cannot be reached delays the purge of the log. Those of the last `retention_days`
    stay in any case: the log may have lost their deletions.
    """
    settings = conf.current()
    days = max(settings.ledger_days, settings.retention_days)
    old = ServerNow() - dt.timedelta(days=days)
    rows = Tally.objects.using(database).filter(log=log, at__lte=old).order_by("at", "pk")
    removed, begin = 0, None
    for _ in range(PURGES):
        page = rows if begin is None else rows.filter(at__gte=begin)
        found = list(page.values_list("pk", "batch", "tally", "at")[:PURGED])
        known = known_in(using, [batch for _, batch, _, _ in found])
        gone = [pk for pk, batch, tally, _ in found if tally not in known.get(batch, set())]
        if gone:
            removed += rows.order_by().filter(pk__in=gone)._raw_delete(database)
        if len(found) < PURGED or found[-1][3] == begin:
            break
        begin = found[-1][3]
    return removed


def rename(change: Renaming, *, database: str, log: UUID, apply: bool) -> int:
    """Give the ledger of one log its new names of parents; return the number of rows.

    In batches, each a statement of its own. Who runs it again finds what still has the old names.
    """
    if not is_kept_in(database):
        return 0
    ledger, changed = Tally.objects.using(database).filter(log=log), 0
    for old in [*ledger.order_by().values_list("parent", "relation").distinct()]:
        if (new := change.pair(*old)) == old:
            continue
        rows = ledger.filter(parent=old[0], relation=old[1])
        if not apply:
            changed += rows.count()
            continue
        while pks := [*rows.values_list("pk", flat=True)[:PURGED]]:
            changed += rows.filter(pk__in=pks).update(parent=new[0], relation=new[1])
    return changed
