"""Suspects of one relation, looked at again: whose parent lives, whose rows are gone.

Takes a batch of suspects; asks the parents on their primaries, past all managers. Writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..backends.lookups import existing
from ..relations.keys import suspect_value, to_stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..models import Deletion
    from ..relations import Relation


#: Why a suspect is cancelled whose key no row of the relation can hold any more.
OUTDATED = "a migration has changed the relation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What became of a batch of suspects, by their ids in the log."""

    relation: Relation
    #: Suspect → the missing parent's key; without those that no row can hold any more.
    keys: dict[int, Any]
    outdated: list[int]
    alive: list[int]

    @property
    def missing(self) -> list[int]:
        """Those whose parent is still not there."""
        alive = set(self.alive)
        return [pk for pk in self.keys if pk not in alive]

    def rowless(self) -> list[int]:
        """Those missing whose rows are gone from every child database, by whatever way.

        The relation must have its content type (`with_content_type`).
        """
        field = self.relation.field
        wanted = {pk: to_stored(field, self.keys[pk]) for pk in self.missing}
        kept = existing(field, wanted, self.relation.child_databases)
        return [pk for pk in wanted if pk not in kept]


def look(relation: Relation, suspects: Sequence[Deletion]) -> Look:
    """Ask the parents of those suspects. Raises the errors of their databases."""
    values = {each.pk: suspect_value(relation, each.key, each.targets) for each in suspects}
    keys = {pk: value for pk, value in values.items() if value is not None}
    living = existing(relation.target, keys, relation.parent_databases)
    return Look(
        relation=relation,
        keys=keys,
        outdated=[pk for pk in values if pk not in keys],
        alive=[pk for pk in keys if pk in living],
    )
