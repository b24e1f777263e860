"""The findings of erasure steps, in child databases: what is to be erased with rows that are gone.

They are written in the transaction that removes the rows, and noted as erased when the step has
returned. So whatever dies, nothing that was found is forgotten; some may be erased twice.

Note [Until it is proven]: a finding is removed after its cascade is verified in the log. What a
process left behind that died in between goes when the deletion is purged from the log.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING, Any

from django.db.models import Sum

from .. import conf
from ..backends import missing_tables
from ..models import Finding
from ..models.moments import ServerNow
from .tallies import known_in

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from uuid import UUID

    from django.db.models import QuerySet

    from ..erasure import Item
    from .values import Claim

if TYPE_CHECKING:
    Findings = QuerySet[Finding]

#: The most items of one row.
ITEMS = 200
#: Rows that one statement reads, or names.
ROWS = 500


def rows_of(
    log: UUID, batch: int, deletion: int, step: str, items: Sequence[Item]
) -> list[Finding]:
    """Return the rows that hold what a step found for one deletion. Pure."""
    parts = [items[at : at + ITEMS] for at in range(0, len(items), ITEMS)]
    return [
        Finding(log=log, batch=batch, deletion=deletion, step=step, items=[*part], size=len(part))
        for part in parts
    ]


def write(found: Sequence[Finding], *, database: str) -> None:
    """Write findings in the transaction that removes their rows."""
    for row in found:
        row.at = ServerNow()
    Finding.objects.using(database).bulk_create(found, batch_size=ROWS)


def of_claim(claim: Claim, step: str, *, database: str) -> QuerySet[Finding]:
    """Return the step's findings for the claim's batches in a child database.

    Other claims may have some of the batches' deletions: see `mine`.
    """
    rows = Finding.objects.using(database)
    if claim.log is None:  # it has no name under which anything was found
        return rows.none()
    return rows.filter(log=claim.log, batch__in=claim.batches, step=step)


def mine(rows: QuerySet[Finding], deletions: Collection[int]) -> QuerySet[Finding]:
    """Return those of the rows that are of the deletions."""
    return rows.filter(deletion__in=sorted(deletions))


def some(rows: QuerySet[Finding], deletions: Collection[int]) -> list[Finding]:
    """Return the first findings of the deletions, up to `ROWS`: those of one deletion together."""
    return [*mine(rows, deletions).order_by("deletion", "pk")[:ROWS]]


def note_erased(found: Iterable[Finding], *, database: str) -> None:
    """Note that the items of those findings were erased."""
    pks = [row.pk for row in found]
    Finding.objects.using(database).filter(pk__in=pks).update(erased_at=ServerNow())


def sizes(rows: QuerySet[Finding], deletions: Collection[int]) -> Counter[int]:
    """Return deletion → the items that its findings have. One statement."""
    sums = mine(rows, deletions).order_by().values_list("deletion").annotate(Sum("size"))
    return Counter(dict(sums))


def forget_erased(rows: QuerySet[Finding], deletions: Collection[int]) -> int:
    """Let what was found for those deletions be erased again; return the number of findings."""
    pks = mine(rows, deletions).values_list("pk", flat=True)
    again = Finding.objects.using(rows.db).filter(pk__in=[*pks])
    return again.update(erased_at=None)


def of_log(database: str, *, log: UUID) -> Iterator[tuple[QuerySet[Finding], list[int]]]:
    """Yield all findings of a log in a child database, with the next deletions that have some."""
    rows, begin = Finding.objects.using(database).filter(log=log), 0
    ids = rows.order_by("deletion").values_list("deletion", flat=True).distinct()
    while page := [*ids.filter(deletion__gt=begin)[:ROWS]]:
        yield rows, page
        begin = page[-1]


def remove(pks: Sequence[UUID], *, database: str) -> int:
    """Remove findings that are proven. See Note [Until it is proven].

    Those stay that have to be erased again by now.
    """
    proven = Finding.objects.using(database).filter(pk__in=pks, erased_at__isnull=False)
    return int(proven._raw_delete(database)) if pks else 0


def purge(database: str, *, log: UUID, using: str) -> int:
    """Remove old findings of deletions that were purged from the log; return their number."""
    old: Any = ServerNow() - dt.timedelta(days=conf.current().retention_days)
    rows = Finding.objects.using(database).filter(log=log, at__lte=old)
    found = dict(rows.order_by("at").values_list("pk", "batch")[:ROWS])
    known = known_in(using, found.values())
    gone = [pk for pk, batch in found.items() if batch not in known]
    removed = rows.filter(pk__in=gone)
    return int(removed._raw_delete(database)) if gone else 0


def rename(old: str, new: str, *, database: str, log: UUID, apply: bool) -> int:
    """Give the findings of a step its new name; return their number. See `tallies.rename`."""
    if missing_tables.absent([Finding], using=database):
        return 0
    rows = Finding.objects.using(database).filter(log=log, step=old)
    if not apply:
        return rows.count()
    changed = 0
    while pks := [*rows.values_list("pk", flat=True)[:ROWS]]:
        changed += rows.filter(pk__in=pks).update(step=new)
    return changed
