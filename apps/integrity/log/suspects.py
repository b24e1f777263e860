"""Missing parents that scans found: entered as suspects, checked again, confirmed."""

from __future__ import annotations

import datetime as dt
import enum
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import connections, models
from django.db.models import BooleanField, ExpressionWrapper, Q
from django.db.models.functions import Now

from .. import backends, conf
from ..backends.barriers import barriers_to_json
from ..models import Cascade, Deletion, of_keys
from ..relations.relation import primary_key
from . import tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..backends.barriers import Barrier
    from ..relations import Relation


#: Suspects of one batch.
SUSPECTS = 2_000
#: States of deletions that have cascades which may not be over.
_WITH_CASCADES = (Deletion.State.DISPATCHED, Deletion.State.CASCADED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """How the log entered keys, as text, for which a scan found no parent."""

    suspects: list[str]
    #: Keys whose cascade into the scanned database is blocked. They are no suspects, but orphans:
    #: nothing removes their rows before an operator acts.
    blocked: list[str]


class _Standing(enum.Enum):
    """What an open deletion does about rows of one relation in one database."""

    REMOVES = enum.auto()
    BLOCKED = enum.auto()
    NOTHING = enum.auto()


def suspect(
    relation: Relation,
    keys: Sequence[str],
    fence: Mapping[str, Barrier],
    *,
    database: str,
    using: str,
) -> Entered:
    """Enter keys (as text) that a scan of `relation` in `database` found no parent for.

    A key is no suspect if an open deletion is going to cascade it into this database along this
    relation. A known suspect gets the new fence. Call this in the transaction that saves the
    scan's cursor.
    """
    size = min(SUSPECTS, connections[using].features.max_query_params or SUSPECTS) // 2
    entered = Entered(suspects=[], blocked=[])
    for start in range(0, len(keys), size):
        part = _suspect(relation, keys[start : start + size], fence, database, using)
        entered.suspects.extend(part.suspects)
        entered.blocked.extend(part.blocked)
    return entered


def _suspect(
    relation: Relation, keys: Sequence[str], fence: Mapping[str, Barrier], database: str, using: str
) -> Entered:
    """Do what `suspect` does, for as many keys as one statement takes."""
    target = None if _by_key(relation) else relation.target.name
    known = _open_deletions(relation, keys, using)
    suspect_ids = {
        text: pk for pk, (text, state) in known.items() if state == Deletion.State.SUSPECT
    }
    # A known suspect waits again: a new parent with that key may not be committed yet.
    again = tables.id_in("pk", list(suspect_ids.values()), using)
    tables.deletions(using).filter(again).update(fence=barriers_to_json(fence))
    standings = _standings(known, relation.label, database, using)
    removed, blocked = (
        {text for text, standing in standings if standing is wanted}
        for wanted in (_Standing.REMOVES, _Standing.BLOCKED)
    )
    suspects = [key for key in keys if key not in removed | blocked]
    if new := [key for key in suspects if key not in suspect_ids]:
        backends.log_backend(using).insert_suspects(
            relation, new, target=target, fence=fence, using=using
        )
    stuck = [key for key in keys if key in blocked - removed]
    return Entered(suspects=suspects, blocked=stuck)


def _by_key(relation: Relation) -> bool:
    return relation.target == primary_key(relation.parent)


def _open_deletions(
    relation: Relation, keys: Sequence[str], using: str
) -> dict[int, tuple[str, str]]:
    """Return id → key and state of the open deletions of those keys along the relation."""
    name, by_key = relation.target.name, _by_key(relation)
    deletions: dict[int, tuple[str, str]] = {}
    # Only keys have an index. Values of other fields are found by the indexes of the states.
    for states in [Deletion.OPEN] if by_key else [[state] for state in Deletion.OPEN]:
        rows = tables.deletions(using).filter(
            of_keys(keys) if by_key else Q(**{f"targets__{name}__in": keys}),
            parent=relation.parent._meta.label,
            relation__in=["", relation.label],
            state__in=states,
        )
        for row in rows.only("key", "targets", "state"):
            deletions[row.pk] = (str(row.key if by_key else (row.targets or {})[name]), row.state)
    return deletions


def _standings(
    known: Mapping[int, tuple[str, str]], label: str, database: str, using: str
) -> list[tuple[str, _Standing]]:
    """Return key and standing of each deletion along a relation in `database`.

    Note [By key alone] in deletions.py.
    """
    waiting = [text for text, state in known.values() if state == Deletion.State.RECORDED]
    removing = [(text, _Standing.REMOVES) for text in waiting]
    ids = [pk for pk, (_, state) in known.items() if state in _WITH_CASCADES]
    if not ids:
        return removing
    late = Q(due_at__lt=Now() - dt.timedelta(seconds=conf.current().stalled_seconds))
    cascades = tables.cascades(using).filter(
        tables.id_in("deletion_id", ids, using), database=database
    )
    is_late = ExpressionWrapper(late, BooleanField())
    rows = cascades.values_list("deletion_id", "state", "failing", is_late)
    return [
        *removing,
        *(
            (known[pk][0], _standing(state, not failing or label in failing, late))
            for pk, state, failing, late in rows
        ),
    ]


def _standing(state: str, concerned: bool, late: bool) -> _Standing:  # noqa: FBT001 (of a row)
    """Return what a cascade in that state does about the rows of a relation. Pure.

    A failed cascade has finished the relations that are not `concerned`: their rows came later. The
    verification of a done cascade is going to find rows that came later. If it is `late`, the scan
    handles them.
    """
    if state in {Cascade.State.WAITING, Cascade.State.BLOCKED} and not concerned:
        return _Standing.NOTHING
    if state in Cascade.CLAIMABLE:
        return _Standing.REMOVES
    if state == Cascade.State.DONE and not late:
        return _Standing.REMOVES
    return _Standing.BLOCKED if state == Cascade.State.BLOCKED else _Standing.NOTHING


def in_batches(
    relation: Relation, *, older_than_seconds: float, using: str
) -> Iterator[list[Deletion]]:
    """Yield the suspects of a relation that are at least that old, in batches."""
    after, seen_by = 0, Now() - dt.timedelta(seconds=older_than_seconds)
    rows = tables.deletions(using).filter(
        state=Deletion.State.SUSPECT, relation=relation.label, recorded_at__lte=seen_by
    )
    while batch := list(rows.filter(pk__gt=after).order_by("pk")[:SUSPECTS]):
        yield batch
        after = batch[-1].pk


def number_of_suspects(relation: str, *, using: str, most: int | None = None) -> int:
    """Return how many suspects a relation has, by its label; with `most`, counting stops there."""
    rows = tables.deletions(using).filter(state=Deletion.State.SUSPECT, relation=relation)
    return rows.order_by()[:most].count()


def suspects_by_relation(*, using: str, most: int | None = None) -> dict[str, int]:
    """Return how many suspects each relation has; those without any are left out.

    With `most`, only so many suspects are counted, of whatever relations.
    """
    rows = tables.deletions(using).filter(state=Deletion.State.SUSPECT)
    if most is not None:
        return dict(Counter(rows.order_by("relation").values_list("relation", flat=True)[:most]))
    return dict(rows.values_list("relation").annotate(models.Count("pk")).order_by())


def renew_barriers(deletions: Sequence[int], fence: Mapping[str, Barrier], *, using: str) -> int:
    """Replace the fence of suspects that is of another server; return their number."""
    rows = tables.deletions(using).filter(
        tables.id_in("pk", deletions, using), state=Deletion.State.SUSPECT
    )
    return rows.update(fence=barriers_to_json(fence))


def confirm(deletions: Sequence[int], *, using: str) -> int:
    """Turn suspects into recorded deletions; return their number."""
    rows = tables.deletions(using).filter(
        tables.id_in("pk", deletions, using), state=Deletion.State.SUSPECT
    )
    return rows.update(
        state=Deletion.State.RECORDED, recorded_at=Now(), reason="found by a scan, and confirmed"
    )
