"""How many deletions of a log are in each state."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from django.db.models import Count, Q

from .. import backends
from ..log import tables
from ..models import Cascade, Deletion, Suspect
from ..models.outcome import state_of_batch
from . import limits

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

#: Suspects of scans are counted beside the states of deletions.
SUSPECT = "suspect"
RARE = (Cascade.State.KEPT, Cascade.State.CANCELLED)

#: Batch, database, state and number of deletions of a cascade.
Row = tuple[int, str, str, int]


def deletion_counts(logs: Sequence[str]) -> dict[str, int]:
    """Return the number of deletions by state; in a large log, VERIFIED is an estimate."""
    counts: Counter[str] = Counter(dict.fromkeys([SUSPECT, *Deletion.State.values], 0))
    for using in logs:
        others = _unverified(using)
        whole = backends.row_backend(using).estimate_rows(Deletion, using=using)
        if whole <= limits.EXACT_MAX:
            whole = tables.deletions(using).count()
        counts.update(others)
        counts[Deletion.State.VERIFIED] += max(whole - others.total(), 0)
        counts[SUSPECT] += Suspect.objects.using(using).count()
    return dict(counts)


def _unverified(using: str) -> Counter[str]:
    """Return the number of deletions in each state but VERIFIED."""
    counts: Counter[str] = Counter()
    counts[Deletion.State.RECORDED] = tables.recorded(using).count()
    cancelled = tables.deletions(using).filter(cancelled_at__isnull=False)
    listed = Q(ended_at__isnull=True) | Q(state__in=RARE)
    batches = tables.cascades(using).filter(listed).values("batch")
    rows = tables.cascades(using).filter(batch__in=batches)
    whole, split = sorted_out(rows.values_list("batch", "database", "state", "size"))
    counted = dict(cancelled.values_list("batch").annotate(Count("pk")).order_by())
    counts[Deletion.State.CANCELLED] = sum(counted.values())
    for batch, (state, size) in whole.items():
        counts[state] += max(size - counted.get(batch, 0), 0)
    if split:
        of_split = tables.id_in("batch", sorted(split), using)
        parts = tables.cascades(using).filter(of_split).values_list("state", "deletions")
        without = set(cancelled.filter(of_split).values_list("pk", flat=True))
        counts.update(of_parts(parts, without))
    counts.pop(Deletion.State.VERIFIED, None)
    return counts


def sorted_out(rows: Iterable[Row]) -> tuple[dict[int, tuple[str, int]], set[int]]:
    """Return state and size of each batch that is whole, and the batches that are split. Pure."""
    batches: dict[int, dict[str, str]] = {}
    sizes, split = dict[int, int](), set[int]()
    for batch, database, state, size in rows:
        states = batches.setdefault(batch, {})
        if database in states:
            split.add(batch)
        states[database] = state
        sizes[batch] = size
    whole = {
        batch: (str(state_of_batch(states.values())), sizes[batch])
        for batch, states in batches.items()
        if batch not in split
    }
    return whole, split


def of_parts(parts: Iterable[tuple[str, list[int]]], without: Collection[int]) -> Counter[str]:
    """Return the numbers by state of the deletions of split batches, `without` some. Pure."""
    states: dict[int, list[str]] = {}
    for state, deletions in parts:
        for pk in deletions:
            states.setdefault(pk, []).append(state)
    return Counter(str(state_of_batch(known)) for pk, known in states.items() if pk not in without)
