"""Cascades that keep rows because a living parent has the value that the rows hold.

Takes claims and counts of rows. See Note [Keys that come back] in cascade/live_check.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce, Now

from ..models import Cascade, Deletion
from . import tables
from .deletions import TAKEN_OVER, advance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .values import Claim, Claimed

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
    """Write the numbers of kept rows to cascades that the claim still holds."""
    for cascade in claim.cascades:
        if rows := kept.get(cascade.id):
            tables.claimed(claim, [cascade.id]).update(**_noted(cascade, rows))


def keep(claim: Claim, kept: Mapping[int, Mapping[str, int]]) -> list[int]:
    """End cascades that the claim still holds as kept; return their deletions' ids.

    Their deletions become kept once no other cascade is open. The numbers of removed rows are those
    of the claim (`outcomes.with_removed`).
    """
    if not kept:
        return []
    ended = []
    for cascade in claim.cascades:
        if cascade.id not in kept:
            continue
        noted = _noted(cascade, kept[cascade.id])
        changed = tables.claimed(claim, [cascade.id]).update(
            state=Cascade.State.KEPT,
            claim=None,
            rows=dict(cascade.rows),
            failing=None,
            reason=reason_of(noted["kept"]),
            done_at=Coalesce(F("done_at"), Now()),
            **noted,
        )
        ended += [cascade.deletion] * changed
    advance(using=claim.using, deletions=ended)
    return ended


def _noted(cascade: Claimed, kept: Mapping[str, int]) -> dict[str, Any]:
    """Return the changed columns. A cascade without kept rows needs no acknowledgement."""
    rows = {**cascade.kept, **kept}
    seen = {"kept": rows, "kept_at": Coalesce(F("kept_at"), Now())}
    if not any(rows.values()):
        return {**seen, "acknowledged_at": Now()}
    return seen if any(cascade.kept.values()) else {**seen, "acknowledged_at": None}


def acknowledge_kept(deletions: Sequence[int] | None, *, using: str) -> int:
    """Mark the kept rows (of those deletions, or all) as acknowledged.

    Return the number of cascades.
    """
    rows = tables.cascades(using).filter(Cascade.UNACKNOWLEDGED)
    if deletions is not None:
        rows = rows.filter(deletion__in=deletions)
    return rows.update(acknowledged_at=Now())


def reopen_kept(deletions: Sequence[int], *, using: str) -> int:
    """Make kept cascades of those deletions pending again: their values may be free now.

    Return the number of cascades.
    """
    with transaction.atomic(using=using):
        # Locked in any state: a deletion may reach its final state meanwhile.
        rows = tables.deletions(using).filter(pk__in=deletions)
        locked = tables.locked(rows.order_by("pk"), using, skip_locked=False)
        standing = list(locked.values_list("pk", "state"))
        ids = [pk for pk, state in standing if state == Deletion.State.KEPT]
        tables.deletions(using).filter(tables.id_in("pk", ids, using)).update(
            state=Deletion.State.DISPATCHED, cascaded_at=None, ended_at=None, reason=""
        )
        kept = Q(deletion__in=deletions, state=Cascade.State.KEPT)
        return (
            tables.cascades(using)
            .filter(kept)
            .update(
                state=Cascade.State.PENDING,
                attempts=0,
                due_at=Now(),
                done_at=None,
                reason="",
                kept=None,
                kept_at=None,
                acknowledged_at=None,
            )
        )
