"""Cascades that leave rows alone because the value that the rows hold belongs to a living row.

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

    from .claims import Claim, Claimed

#: A relation's rows are counted so far; one more stands for all that is more.
COUNTED_MAX = 10_000


def reason_of(kept: Mapping[str, int]) -> str:
    """Return what was left alone along those relations, in a line. Pure."""
    rows = [f"{counted(number)} of {label}" for label, number in kept.items() if number]
    left = f"{', '.join(rows)} refer to it and were left alone" if rows else "no row refers to it"
    return f"{TAKEN_OVER}; {left}"


def counted(number: int) -> str:
    """Return a number of rows in words. Pure."""
    if number > COUNTED_MAX:
        return f"more than {COUNTED_MAX:,} rows"
    return f"{number:,} row{'s' * (number != 1)}"


def note(claim: Claim, kept: Mapping[int, Mapping[str, int]]) -> None:
    """Note rows that were left along some relations of cascades that the claim still holds."""
    for cascade in claim.cascades:
        if found := kept.get(cascade.id):
            tables.claimed(claim, [cascade.id]).update(**_noted(cascade, found))


def keep(claim: Claim, kept: Mapping[int, Mapping[str, int]]) -> list[int]:
    """End cascades that the claim still holds as kept; return their deletions' ids.

    Their deletions end so, too, once no other cascade is open. The rows that were removed before
    are those of the claim (`outcomes.with_removed`).
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
    """Return the columns that say so. What no row refers to needs nobody's attention."""
    found = {**cascade.kept, **kept}
    seen = {"kept": found, "kept_at": Coalesce(F("kept_at"), Now())}
    if not any(found.values()):
        return {**seen, "acknowledged_at": Now()}
    return seen if any(cascade.kept.values()) else {**seen, "acknowledged_at": None}


def acknowledge_kept(deletions: Sequence[int] | None, *, using: str) -> int:
    """Note that somebody knows of the rows that were kept (for those deletions, or all).

    Return the number of cascades.
    """
    rows = tables.cascades(using).filter(Cascade.UNACKNOWLEDGED)
    if deletions is not None:
        rows = rows.filter(deletion__in=deletions)
    return rows.update(acknowledged_at=Now())


def reopen_kept(deletions: Sequence[int], *, using: str) -> int:
    """Put kept cascades of those deletions back to work: their values may be free by now.

    Return the number of cascades.
    """
    with transaction.atomic(using=using):
        # Locked whatever their state: one may come to its end at this moment.
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
