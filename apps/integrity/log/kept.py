"""Deletions that keep rows because a living parent has the value that the rows hold.

Takes claims and counts of rows. See Note [Keys that come back] in cascade/live_check.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Now

from ..models import Cascade
from . import outcomes, parts, tables

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from .values import Claim, ClaimedDeletion

#: The reason of a kept cascade; it names the rows that were left.
TAKEN_OVER = "the value was taken over: it belongs to a living row"

#: The limit for counting a relation's rows; one more means "more than that".
COUNTED_MAX = 10_000


def reason_of(kept: Mapping[str, int]) -> str:
    """Return which rows were kept along those relations, in one line. Pure."""
    rows = [f"{counted(number)} of {label}" for label, number in kept.items() if number]
    left = f"{', '.join(rows)} refer to it and were left alone" if rows else "no row refers to it"
    return f"{TAKEN_OVER}; {left}"


def counted(number: int) -> str:
    """Return a number of rows in words. Pure."""
    if number > COUNTED_MAX:
        return f"more than {COUNTED_MAX:,} rows"
    return f"{number:,} row{'s' * (number != 1)}"


def note(claim: Claim, kept: Mapping[int, Mapping[str, int]]) -> None:
    """Write the numbers of kept rows of deletions that the claim still holds."""
    for deletion in claim.deletions:
        if rows := kept.get(deletion.id):
            outcomes.change(claim, [deletion.id], _noted(deletion, rows))


def keep(claim: Claim, kept: Mapping[int, Mapping[str, int]]) -> list[int]:
    """End deletions as kept in the claim's database; return their ids.

    The numbers of changed rows are those of the claim (`Claim.with_rows`).
    """
    for deletion in claim.deletions:
        if deletion.id in kept:
            noted = _noted(deletion, kept[deletion.id])
            outcomes.change(
                claim,
                [deletion.id],
                {
                    "state": Cascade.State.KEPT,
                    "claim": None,
                    "due_at": None,
                    "rows": outcomes.document({deletion.id: deletion.rows}, [deletion.id]),
                    "failing": None,
                    "reason": reason_of({**deletion.kept, **kept[deletion.id]}),
                    "done_at": Coalesce(F("done_at"), Now()),
                    "ended_at": Now(),
                    **noted,
                },
            )
    return [deletion.id for deletion in claim.deletions if deletion.id in kept]


def _noted(deletion: ClaimedDeletion, kept: Mapping[str, int]) -> dict[str, Any]:
    """Return the changed columns. A deletion without kept rows needs no acknowledgement."""
    rows = {**deletion.kept, **kept}
    seen = {"kept": {str(deletion.id): rows}, "kept_at": Coalesce(F("kept_at"), Now())}
    if not any(rows.values()):
        return {**seen, "acknowledged_at": Now()}
    return seen if any(deletion.kept.values()) else {**seen, "acknowledged_at": None}


def acknowledge_kept(deletions: Collection[int] | None, *, using: str) -> int:
    """Mark the kept rows (of those deletions, or all) as acknowledged.

    Return the number of cascades.
    """
    if deletions is None:
        rows = tables.cascades(using).filter(Cascade.UNACKNOWLEDGED)
        return rows.update(acknowledged_at=Now())
    with transaction.atomic(using=using):
        rows = tables.of_deletions(deletions, using).filter(Cascade.UNACKNOWLEDGED)
        whole = parts.separate(rows, deletions, using=using, holder=False)
        named = tables.id_in("pk", [*whole], using)
        return tables.cascades(using).filter(named).update(acknowledged_at=Now())


def reopen_kept(deletions: Collection[int], *, using: str) -> int:
    """Make kept cascades of those deletions pending again: their values may be free now.

    Return the number of cascades.
    """
    with transaction.atomic(using=using):
        rows = tables.of_deletions(deletions, using).filter(state=Cascade.State.KEPT)
        whole = parts.separate(rows, deletions, using=using, holder=False)
        return (
            tables.cascades(using)
            .filter(tables.id_in("pk", [*whole], using))
            .update(
                state=Cascade.State.PENDING,
                attempts=0,
                due_at=Now(),
                done_at=None,
                ended_at=None,
                reason="",
                kept=None,
                kept_at=None,
                acknowledged_at=None,
            )
        )
