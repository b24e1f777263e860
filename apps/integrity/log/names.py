"""The names in open work: aliases, parents and relations, as they were when it was recorded.

Bounded by the number of names, whatever the length of the log: Note [From value to value].
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..backends.distinct import distinct
from ..models import Cascade, Deletion
from . import tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet

#: The conditions of the indexes.
_OPEN = "state IN ('suspect', 'recorded', 'dispatched', 'cascaded') AND verified_at IS NULL"
_IN_BACKLOG = "state IN ('pending', 'running', 'waiting', 'blocked') AND verified_at IS NULL"
_UNPROVEN = "state = 'done'"


def open_databases(*, using: str) -> list[str]:
    """Return the child databases with cascades that are not done, or not verified."""
    rows = distinct(Cascade, ["database"], [_IN_BACKLOG, _UNPROVEN], using=using)
    return sorted(database for (database,) in rows)


def open_names(*, using: str) -> list[tuple[str, str]]:
    """Return parent and relation ("" for all of its relations) of open deletions."""
    pairs = distinct(Deletion, ["parent", "relation"], [_OPEN], using=using)
    return sorted((parent, relation) for parent, relation in pairs)


def open_deletions(parent: str, relation: str, *, using: str) -> QuerySet[Deletion]:
    """Return the open deletions of those names, with the condition of their index."""
    return tables.deletions(using).filter(Deletion.UNDER_A_NAME, parent=parent, relation=relation)


def waiting_under(
    names: Sequence[tuple[str, str]], states: Sequence[Cascade.State], *, most: int, using: str
) -> Counter[str]:
    """Return database → number of cascades in those states, of open deletions of those names.

    For each name, only the first `most` deletions are counted.
    """
    counts = Counter[str]()
    for parent, relation in names:
        rows = open_deletions(parent, relation, using=using)
        for pks in _chunks(list(rows.values_list("pk", flat=True)[:most])):
            cascades = tables.cascades(using).filter(tables.id_in("deletion_id", pks, using))
            states_of = cascades.values_list("database", "state")
            counts.update(database for database, state in states_of if state in states)
    return counts


def _chunks(pks: list[int]) -> list[list[int]]:
    return [pks[start : start + 500] for start in range(0, len(pks), 500)]
