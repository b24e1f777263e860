"""Missing parents that scans found: suspected, looked at again, confirmed."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from django.db import connections, models
from django.db.models.functions import Now

from .. import relations, statements
from ..models import Deletion
from . import tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..relations import Relation


#: Suspects that are entered, or looked at, at once.
SUSPECTS = 2_000


def suspect(
    relation: Relation, keys: Sequence[str], fence: Mapping[str, int], *, using: str
) -> list[str]:
    """Enter keys (as text) that a scan of `relation` found no parent for; gives the suspects.

    What an open deletion is about already is no suspect; what is one already gets the new fence.
    Call it in the transaction that saves the scan's cursor.
    """
    size = min(SUSPECTS, connections[using].features.max_query_params or SUSPECTS) // 2
    found: list[str] = []
    for start in range(0, len(keys), size):
        found += _suspect(relation, keys[start : start + size], fence, using)
    return found


def _suspect(
    relation: Relation, keys: Sequence[str], fence: Mapping[str, int], using: str
) -> list[str]:
    """`suspect` for one list of parameters."""
    name, by_key = relation.target.name, relation.target == relations.primary_key(relation.parent)
    busy, there = set[str](), dict[str, int]()
    # Only keys have an index; what holds another field is found through those of the states.
    for states in [Deletion.OPEN] if by_key else [[state] for state in Deletion.OPEN]:
        rows = tables.deletions(using).filter(
            **{"key__in" if by_key else f"targets__{name}__in": keys},
            parent=relation.parent._meta.label,
            relation__in=["", relation.label],
            state__in=states,
        )
        for row in rows.only("key", "targets", "state"):
            text = str(row.key if by_key else (row.targets or {})[name])
            if row.state == Deletion.State.SUSPECT:
                there[text] = row.pk
            else:
                busy.add(text)
    # Who is missed again is waited for again: a new parent of that key may be on its way now.
    known = tables.among("pk", list(there.values()), using)
    tables.deletions(using).filter(known).update(fence=dict(fence))
    found = [each for each in keys if each not in busy]
    if new := [each for each in found if each not in there]:
        statements.on(using).insert_suspects(
            relation, new, target=None if by_key else name, fence=fence, using=using
        )
    return found


def suspects(
    relation: Relation, *, older_than_seconds: float, using: str
) -> Iterator[list[Deletion]]:
    """The suspects of a relation that were seen first so long ago or longer, in batches."""
    after, seen_by = 0, Now() - dt.timedelta(seconds=older_than_seconds)
    rows = tables.deletions(using).filter(
        state=Deletion.State.SUSPECT, relation=relation.label, recorded_at__lte=seen_by
    )
    while batch := list(rows.filter(pk__gt=after).order_by("pk")[:SUSPECTS]):
        yield batch
        after = batch[-1].pk


def number_of_suspects(relation: Relation, *, using: str) -> int:
    """How many suspects of a relation there are."""
    rows = tables.deletions(using).filter(state=Deletion.State.SUSPECT, relation=relation.label)
    return rows.count()


def suspects_by_relation(*, using: str) -> dict[str, int]:
    """How many suspects each relation has; those without any are left out."""
    rows = tables.deletions(using).filter(state=Deletion.State.SUSPECT).values_list("relation")
    return dict(rows.annotate(models.Count("pk")).order_by())


def confirm(deletions: Sequence[int], *, using: str) -> int:
    """Let suspects become deletions, which take the path of every other one. Gives their number."""
    rows = tables.deletions(using).filter(
        tables.among("pk", deletions, using), state=Deletion.State.SUSPECT
    )
    return rows.update(
        state=Deletion.State.RECORDED, recorded_at=Now(), reason="found by a scan, and confirmed"
    )
