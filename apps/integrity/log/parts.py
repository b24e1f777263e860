"""Splits cascades: the deletions that go another way get a cascade of their own.

Note [A partition]: the cascades of a batch in a database are always a partition of the batch. So
each deletion has exactly one cascade in each of its databases, and its id names it there. All
splits go through `separate`, in the transaction of the change for which they are made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import Min

from ..backends.transactions import atomic, retried
from ..models import Cascade
from ..models.moments import ServerNow
from . import tables

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from django.db.models import QuerySet

#: Columns that hold a document by deletion.
DOCUMENTS = ("rows", "kept")
#: Cascades that are changed in one transaction, where an operator changes all.
STEP = 1_000


def separate(
    cascades: QuerySet[Cascade], deletions: Collection[int], *, using: str, holder: bool
) -> dict[int, list[int]]:
    """Split cascades until some of them hold nothing but those deletions; return these.

    Returns cascade → its deletions. `cascades` are locked, and are those that may hold the
    deletions. A running cascade that is split keeps its claim only if the caller is the `holder` of
    that claim: else the next worker claims both parts anew. Call it in a transaction.
    """
    wanted, whole = set(deletions), dict[int, list[int]]()
    for pk, held in (_locked(cascades, using, holder=holder) if wanted else {}).items():
        taken, rest = divided(held, wanted)
        if taken and rest:
            whole[_split(pk, taken, rest, using, holder=holder)] = taken
        elif taken:
            whole[pk] = taken
    return whole


def _locked(cascades: QuerySet[Cascade], using: str, *, holder: bool) -> dict[int, list[int]]:
    """Lock the cascades; return each with its deletions.

    Whoever held a lock may have split that cascade, and a statement that waited for the lock does
    not see the new part. So this looks again until there is no other. The `holder` of a claim need
    not: a part of a running cascade that others split off has lost the claim.
    """
    found = dict[int, list[int]]()
    rows = tables.locked(cascades.order_by("pk"), using, skip_locked=False)
    while new := dict(rows.exclude(pk__in=[*found]).values_list("pk", "deletions")):
        found |= new
        if holder:
            break
    return found


def _split(pk: int, taken: list[int], rest: list[int], using: str, *, holder: bool) -> int:
    """Give some of a locked cascade's deletions one of their own; return its id."""
    cascade = tables.cascades(using).get(pk=pk)
    revoked = dict[str, Any]()
    if not holder and cascade.state == Cascade.State.RUNNING:
        revoked |= {"state": Cascade.State.PENDING, "claim": None, "due_at": ServerNow()}
        revoked["attempts"] = max(0, cascade.attempts - 1)
    columns = {
        field.attname: getattr(cascade, field.attname)
        for field in Cascade._meta.concrete_fields
        if not field.primary_key
    }
    its_own = _columns(cascade, taken) | _deadlines(cascade, taken, using)
    part = Cascade(**columns | revoked | its_own)
    part.save(using=using, force_insert=True)
    left = _columns(cascade, rest) | _deadlines(cascade, rest, using)
    tables.cascades(using).filter(pk=pk).update(**revoked, **left)
    return int(part.pk)


def _deadlines(cascade: Cascade, deletions: list[int], using: str) -> dict[str, Any]:
    """Return the deadline of a part, and its place in their order unless it was moved."""
    if cascade.deadline is None:
        return {}
    rows = tables.deletions(using).filter(tables.id_in("pk", deletions, using))
    first = rows.aggregate(first=Min("deadline"))["first"]
    if first is None or cascade.order_at != cascade.deadline:
        return {"deadline": first}
    return {"deadline": first, "order_at": first}


@retried
def change_those(
    cascades: QuerySet[Cascade], deletions: Collection[int], changes: Mapping[str, Any], using: str
) -> list[int]:
    """Change what those cascades do about those deletions, for an operator.

    `cascades` gives the condition under which they are changed. Return the deletions that were
    changed, once for each database.
    """
    with atomic(using):
        named = cascades & tables.of_deletions(deletions, using)
        whole = separate(named, deletions, using=using, holder=False)
        tables.cascades(using).filter(tables.id_in("pk", [*whole], using)).update(**changes)
    return sorted(pk for group in whole.values() for pk in group)


def change_all(cascades: QuerySet[Cascade], changes: Mapping[str, Any], using: str) -> int:
    """Change all of those cascades, in steps; return deletions times databases.

    Cascades that are changed must be none of those any more.
    """
    number, pks = 0, cascades.order_by().values_list("pk", flat=True)
    while step := list(pks[:STEP]):
        number += _change_step(cascades, step, changes, using)
    return number


@retried
def _change_step(
    cascades: QuerySet[Cascade], step: list[int], changes: Mapping[str, Any], using: str
) -> int:
    with atomic(using):
        named = cascades.filter(tables.id_in("pk", step, using)).order_by("pk")
        rows = tables.locked(named, using, skip_locked=False)
        sizes = dict(rows.values_list("pk", "size"))
        changed = tables.cascades(using).filter(tables.id_in("pk", [*sizes], using))
        changed.update(**changes)
    return sum(sizes.values())


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
