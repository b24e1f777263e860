"""Suspects of one relation, rechecked: whose parent exists, and whose rows are gone.

Asks the parents on their primaries, past all managers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..backends import collations
from ..backends.lookups import existing, living_lookalikes, uncommitted
from ..log import suspects
from ..relations.keys import suspect_value, to_stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..models import Suspect
    from ..relations import Relation


@dataclass(frozen=True, slots=True, kw_only=True)
class Rechecked:
    """What the recheck found of a batch of suspects, by their ids in the log."""

    relation: Relation
    #: Suspect → the missing parent's key; without those that no row can hold any more.
    keys: dict[int, Any]
    #: No row of the relation can hold their key any more: a migration has changed the relation.
    outdated: list[int]
    alive: list[int]
    #: Suspect → the parents' database in which an open transaction has written its parent.
    uncommitted: dict[int, str] = field(default_factory=dict)

    @property
    def missing(self) -> list[int]:
        """Return the suspects whose parent is still missing, and that nobody is inserting."""
        others = {*self.alive, *self.uncommitted}
        return [pk for pk in self.keys if pk not in others]

    def without_rows(self) -> list[int]:
        """Return the missing ones without a row in any child database, whatever removed the rows.

        `relation` must have its content type (`with_content_type`).
        """
        child_key = self.relation.field
        wanted = {pk: to_stored(child_key, self.keys[pk]) for pk in self.missing}
        with_rows = existing(child_key, wanted, self.relation.child_databases)
        return [pk for pk in wanted if pk not in with_rows]


def recheck(relation: Relation, batch: Sequence[Suspect]) -> Rechecked:
    """Ask the parents of those suspects again. Writes nothing.

    Raises the errors of the parents' databases.
    """
    values = {
        suspect.pk: suspect_value(relation, suspect.field, suspect.value) for suspect in batch
    }
    keys = {pk: value for pk, value in values.items() if value is not None}
    living = existing(relation.target, keys, relation.parent_databases)
    absent = {pk: key for pk, key in keys.items() if pk not in living}
    if collations.is_text(relation.target):
        texts = {pk: str(key) for pk, key in absent.items()}
        for database in relation.child_databases:
            living |= living_lookalikes(relation, texts, database)
        absent = {pk: key for pk, key in absent.items() if pk not in living}
    return Rechecked(
        relation=relation,
        keys=keys,
        outdated=[pk for pk in values if pk not in keys],
        alive=[pk for pk in keys if pk in living],
        uncommitted=uncommitted(relation.target, absent, relation.parent_databases),
    )


def drop_outlived(relation: Relation, *, using: str) -> None:
    """Drop the suspects whose parent exists again or whose rows are gone.

    `relation` must have its content type (`with_content_type`). Raises the errors of its databases.
    """
    for batch in suspects.in_batches(relation, older_than_seconds=0, using=using):
        rechecked = recheck(relation, batch)
        over = [*rechecked.alive, *rechecked.outdated, *rechecked.without_rows()]
        suspects.drop(over, using=using)
