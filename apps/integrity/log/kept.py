"""Deletions that keep rows because a living parent has the value that the rows hold.

Takes claims and counts of rows. See Note [Keys that come back] in cascade/live_check.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import F
from django.db.models.functions import Coalesce

from ..backends.transactions import atomic, retried
from ..models import Cascade
from ..models.moments import ServerNow
from . import beside, outcomes, parts, scopes, tables

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from .values import Claim, ClaimedDeletion

#: The reason of a kept cascade; it names the rows that were left.
TAKEN_OVER = "the value was taken over: it belongs to an existing row"

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
    found = {pk: rows for pk, rows in kept.items() if rows}
    _write(claim, found, lambda _: "", {})


def keep(claim: Claim, kept: Mapping[int, Mapping[str, int]]) -> list[int]:
    """End deletions as kept in the claim's database; return the ids of those that are.

    The numbers of changed rows are those of the claim (`Claim.with_rows`).
    """
    if not kept:
        return []
    moments = {"done_at": Coalesce(F("done_at"), ServerNow()), "ended_at": ServerNow()}
    ended = {"state": Cascade.State.KEPT, "claim": None, "due_at": None, "failing": None}
    scope = {"scope": scopes.current(claim.parent, claim.relation, using=claim.using)}
    return _write(claim, kept, reason_of, ended | moments | scope)


@retried
def _write(
    claim: Claim,
    kept: Mapping[int, Mapping[str, int]],
    reason: Callable[[Mapping[str, int]], str],
    changes: Mapping[str, Any],
) -> list[int]:
    """Write the numbers of kept rows, and changes; return the deletions. One transaction.

    Those with the same reason, for whose rows the same is to be acknowledged, stay together.
    """
    claimed = {deletion.id: deletion for deletion in claim.deletions if deletion.id in kept}
    numbers = {pk: {**claimed[pk].kept, **kept[pk]} for pk in claimed}
    groups: dict[tuple[str, bool | None], list[int]] = {}
    for pk, deletion in claimed.items():
        alike = reason(numbers[pk]), _acknowledged(deletion, numbers[pk])
        groups.setdefault(alike, []).append(pk)
    written = list[int]()
    with atomic(claim.using):
        for (why, acknowledged), group in groups.items():
            for cascade, deletions in outcomes.held(claim, group).items():
                columns: dict[str, Any] = {
                    **changes,
                    "kept_at": Coalesce(F("kept_at"), ServerNow()),
                }
                columns["kept"] = {str(pk): numbers[pk] for pk in deletions}
                if acknowledged is not None:
                    columns["acknowledged_at"] = ServerNow() if acknowledged else None
                if changes:
                    columns["reason"] = why
                    removed = {pk: claimed[pk].rows for pk in deletions}
                    columns["rows"] = outcomes.document(removed, deletions)
                tables.cascades(claim.using).filter(pk=cascade).update(**columns)
                written += deletions
    return sorted(written)


def _acknowledged(deletion: ClaimedDeletion, kept: Mapping[str, int]) -> bool | None:
    """Return whether its kept rows count as acknowledged; None if that stays as it is. Pure.

    A deletion without kept rows needs no acknowledgement; new ones need a new one.
    """
    if not any(kept.values()):
        return True
    return None if any(deletion.kept.values()) else False


def acknowledge_kept(deletions: Collection[int] | None, *, using: str) -> int:
    """Mark the kept rows (of those deletions, or all) as acknowledged.

    Return deletions times databases.
    """
    if deletions is None:
        rows = tables.cascades(using).filter(Cascade.UNACKNOWLEDGED)
        return parts.change_all(rows, {"acknowledged_at": ServerNow()}, using)
    return len(acknowledge_those(deletions, using=using))


def acknowledge_those(deletions: Collection[int], *, using: str) -> list[int]:
    """Mark the kept rows of those deletions as acknowledged.

    Return those that had any which were not, once for each database.
    """
    rows = tables.cascades(using).filter(Cascade.UNACKNOWLEDGED)
    return parts.change_those(rows, deletions, {"acknowledged_at": ServerNow()}, using)


def reopen_kept(deletions: Collection[int], *, using: str) -> list[int]:
    """Make kept deletions pending again: their values may be free now.

    Return those that were kept, once for each database.
    """
    kept = tables.cascades(using).filter(state=Cascade.State.KEPT)
    changes = {
        "state": Cascade.State.PENDING,
        "attempts": 0,
        "due_at": ServerNow(),
        "reason": "",
        **dict.fromkeys(["kept", "kept_at", "acknowledged_at", "done_at", "ended_at", "scope"]),
    }
    reopened = parts.change_those(kept, deletions, changes, using)
    if reopened:
        beside.reopen_steps(reopened, using=using)
    return reopened
