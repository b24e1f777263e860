"""Splits cascades: the deletions that go another way get a cascade of their own.

Note [A partition]: the cascades of a batch in a database are always a partition of the batch. So
each deletion has exactly one cascade in each of its databases, and its id names it there. All
changes go through `separate`, in the transaction of the change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models.functions import Now

from ..models import Cascade
from . import tables

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from django.db.models import QuerySet

#: Columns that hold a document by deletion.
DOCUMENTS = ("rows", "kept")


def separate(
    cascades: QuerySet[Cascade], deletions: Collection[int], *, using: str, holder: bool
) -> dict[int, list[int]]:
    """Split cascades until some of them hold nothing but those deletions; return these.

    Returns cascade → its deletions. `cascades` are locked, and are those that may hold the
    deletions. What is left of a running cascade keeps its claim only if the caller is the `holder`
    of that claim: else the next worker claims the rest anew. Call it in a transaction.
    """
    wanted, whole = set(deletions), dict[int, list[int]]()
    for cascade in tables.locked(cascades.order_by("pk"), using, skip_locked=False):
        taken, rest = divided(cascade.deletions, wanted)
        if not taken:
            continue
        if not rest:
            whole[cascade.pk] = taken
            continue
        whole[_insert(cascade, taken, using)] = taken
        revoked = not holder and cascade.state == Cascade.State.RUNNING
        tables.cascades(using).filter(pk=cascade.pk).update(
            **_columns(cascade, rest),
            **({"state": Cascade.State.PENDING, "claim": None, "due_at": Now()} if revoked else {}),
        )
    return whole


def divided(deletions: Sequence[int], wanted: Collection[int]) -> tuple[list[int], list[int]]:
    """Return the deletions that are wanted, and the others. Pure."""
    return [pk for pk in deletions if pk in wanted], [pk for pk in deletions if pk not in wanted]


def part_of(
    document: Mapping[str, Any] | None, deletions: Collection[int]
) -> dict[str, Any] | None:
    """Return the entries of those deletions, or None if there is none. Pure."""
    known = document or {}
    return {str(pk): known[str(pk)] for pk in deletions if str(pk) in known} or None


def _columns(cascade: Cascade, deletions: list[int]) -> dict[str, Any]:
    documents = {name: part_of(getattr(cascade, name), deletions) for name in DOCUMENTS}
    return {"deletions": deletions, "size": len(deletions), **documents}


def _insert(cascade: Cascade, deletions: list[int], using: str) -> int:
    """Insert a copy of the cascade that holds those of its deletions; return its id."""
    columns = {
        field.attname: getattr(cascade, field.attname)
        for field in Cascade._meta.concrete_fields
        if not field.primary_key
    }
    part = Cascade(**columns | _columns(cascade, deletions))
    part.save(using=using, force_insert=True)
    return int(part.pk)
