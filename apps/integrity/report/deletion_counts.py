"""How many deletions of a log are in each state."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from django.db.models import Count, Q, Value

from .. import backends
from ..log import tables
from ..models import Cascade, Deletion
from ..models.outcome import state_of_batch
from . import limits
from .work import RECORDED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from .work import Work

#: Suspects of scans are counted beside the states of deletions.
SUSPECT = "suspect"
RARE = (Cascade.State.KEPT, Cascade.State.CANCELLED)

#: Batch, database, state and number of deletions of a cascade; or batch, "", "" and number of its
#: deletions that were cancelled. Without a batch, they were cancelled before they had one.
Row = tuple[int | None, str, str, int]


def deletion_counts(works: Mapping[str, Work]) -> dict[str, int]:
    """Return the number of deletions by state; in a large log, VERIFIED is an estimate.

    `works` is the work of each log. Two statements for each, and one more if batches are split.
    """
    counts: Counter[str] = Counter(dict.fromkeys([SUSPECT, *Deletion.State.values], 0))
    for using, work in works.items():
        others = _dispatched(using)
        others[Deletion.State.RECORDED] += sum(group.number for group in work.of(RECORDED))
        backend = backends.row_backend(using)
        whole = backend.number_of_rows(Deletion, limits.EXACT_MAX, using=using)
        counts.update(others)
        counts[Deletion.State.VERIFIED] += max(whole - others.total(), 0)
        counts[SUSPECT] += work.suspects.total()
    return dict(counts)


def _dispatched(using: str) -> Counter[str]:
    """Return the number of deletions in each state but RECORDED and VERIFIED."""
    cancelled = tables.deletions(using).filter(cancelled_at__isnull=False)
    listed = Q(ended_at__isnull=True) | Q(state__in=RARE)
    batches = tables.cascades(using).filter(listed).values("batch")
    rows = tables.cascades(using).filter(batch__in=batches)
    without = cancelled.order_by().values("batch").annotate(number=Count("pk"))
    none = Value("")
    whole, split, cancelled_in = sorted_out(
        rows.values_list("batch", "database", "state", "size").union(
            without.values_list("batch", none, none, "number"), all=True
        )
    )
    counts = Counter[str]({Deletion.State.CANCELLED: cancelled_in.total()})
    for batch, (state, size) in whole.items():
        counts[state] += max(size - cancelled_in[batch], 0)
    if split:
        of_split = tables.id_in("batch", sorted(split), using)
        parts = tables.cascades(using).filter(of_split).values_list("state", "deletions")
        ids = cancelled.filter(of_split).values_list("pk", flat=True)
        counts.update(of_parts(parts, {*ids}))
    counts.pop(Deletion.State.VERIFIED, None)
    return counts


def sorted_out(
    rows: Iterable[Row],
) -> tuple[dict[int, tuple[str, int]], set[int], Counter[int | None]]:
    """Return state and size of each whole batch, the split ones, and what was cancelled. Pure.

    The last is batch → number of cancelled deletions. MySQL makes decimals of numbers in a UNION.
    """
    batches: dict[int, dict[str, str]] = {}
    sizes, split, cancelled = dict[int, int](), set[int](), Counter[int | None]()
    for batch, database, state, size in rows:
        if batch is None or not database:
            cancelled[batch] = int(size)
            continue
        states = batches.setdefault(batch, {})
        if database in states:
            split.add(batch)
        states[database] = state
        sizes[batch] = int(size)
    whole = {
        batch: (str(state_of_batch(states.values())), sizes[batch])
        for batch, states in batches.items()
        if batch not in split
    }
    return whole, split, cancelled


def of_parts(parts: Iterable[tuple[str, list[int]]], without: Collection[int]) -> Counter[str]:
    """Return the numbers by state of the deletions of split batches, `without` some. Pure."""
    states: dict[int, list[str]] = {}
    for state, deletions in parts:
        for pk in deletions:
            states.setdefault(pk, []).append(state)
    return Counter(str(state_of_batch(known)) for pk, known in states.items() if pk not in without)
