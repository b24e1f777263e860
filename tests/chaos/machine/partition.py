"""The log's rows, by deletion. Pure, and it asks nothing of the product.

The cascades of a batch in a database are a partition of the batch, after every step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .truth import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .world import Values

#: What a deletion is whose cascades are all in these states; the first that fits.
STATES = (
    ("verified", {"verified"}),
    ("kept", {"verified", "kept"}),
    ("cascaded", {"verified", "kept", "done"}),
)
#: States of cascades that nothing is due for.
AT_REST = {"blocked", "verified", "kept", "cancelled"}


def by_deletion(deletions: Sequence[Values], cascades: Sequence[Values]) -> Iterator[Values]:
    """Yield each deletion with its state and its cascade in each database."""
    held: dict[int, dict[str, Values]] = {each["id"]: {} for each in deletions}
    batches = {each["id"]: each["batch"] for each in deletions}
    for cascade in cascades:
        if odd := _oddity(cascade):
            raise Violation(f"a cascade {odd}: {cascade}")
        for pk in cascade["deletions"]:
            if batches.get(pk) != cascade["batch"]:
                raise Violation(f"{pk} is in a cascade, and not in its batch: {cascade}")
            if cascade["database"] in held[pk]:
                raise Violation(f"two cascades hold {pk}: {held[pk]}, {cascade}")
            held[pk][cascade["database"]] = _of(pk, cascade)
    for deletion in deletions:
        found = held[deletion["id"]]
        yield {**deletion, "state": _state(deletion, found), "cascades": found}


def _of(pk: int, cascade: Values) -> Values:
    documents = {name: (cascade[name] or {}).get(str(pk), {}) for name in ("rows", "kept")}
    return {**cascade, **documents}


def _oddity(cascade: Values) -> str:
    deletions: list[int] = cascade["deletions"]
    if deletions != sorted(set(deletions)) or cascade["size"] != len(deletions) or not deletions:
        return "counts or orders its deletions wrong"
    named: set[Any] = {*(cascade["rows"] or {}), *(cascade["kept"] or {})}
    if named - {str(pk) for pk in deletions}:
        return "counts rows of deletions that it does not hold"
    if (cascade["due_at"] is None) != (cascade["state"] in AT_REST):
        return "is due although it is at rest, or never due"
    if (cascade["ended_at"] is not None) != (cascade["state"] in AT_REST - {"blocked"}):
        return "has ended and goes on, or the other way round"
    return ""


def _state(deletion: Values, cascades: dict[str, Values]) -> str:
    if deletion["cancelled_at"] is not None:
        return "cancelled"
    if deletion["batch"] is None:
        return "recorded"
    states = {each["state"] for each in cascades.values()}
    return next((name for name, all_of in STATES if states <= all_of and states), "dispatched")
