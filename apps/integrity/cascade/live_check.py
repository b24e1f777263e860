"""The keys of a claim, as values, without those whose parent is alive.

Every statement that deletes or changes rows of a child gets its keys from here.

Note [The live check]: a parent counts as gone only if no row of its table holds the value that the
relation's rows hold (its primary key, or its `to_field`) *now*, on every primary it may live on,
asked past all managers and replicas.

Note [Keys that come back]: a value may belong to a row again: the same person's, restored; or
somebody else's, registered under a free name. The rows that refer to it cannot be told from those
of before, so none of them is touched, and nothing is proven about them.

| seen | along that relation | the cascade | the deletion |
|---|---|---|---|
| the value is free until the verification | deleted, or replaced | verified | verified |
| taken before its rows went, or while they went | kept, counted | kept | kept |
| taken after its rows went, before verification | kept, counted (perhaps 0) | kept | kept |
| taken along one relation, free along others | kept; others as ever | kept, after probing | kept |
| taken in one child database, verified in others | as above in each | kept; verified | kept |
| taken after the verification | nothing any more | verified | verified |
| a suspect's (of a scan) at its recheck | nothing: it was never a deletion | none | none |
| the log does not say which value it was | waits, and says so | waiting | dispatched |
| given up by an operator, for want of it | left to a scan | cancelled | cancelled |

Each relation is judged by the value that its own rows hold: a primary key that came back keeps no
rows that refer to a name which did not. A deletion that is kept has ended: `cascades[].kept` and
`scope[]` of its receipt say how many rows were left along which relation, and since when. Where
rows were left, the alarm "kept" lasts until an operator acknowledges it, or has looked again
(`integrity retry ID`) and found the value free. It is verified nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import connections

from .. import backends, conf, relations
from ..backends import collations, lookups
from ..backends.transactions import atomic
from ..log import kept
from ..relations import stored
from ..relations.generic import with_content_type
from ..relations.keys import parse_key, to_stored, writes_text
from ..relations.relation import primary_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from ..log.values import Claim
    from ..relations import Field, Relation


def relations_of(claim: Claim) -> tuple[Relation, ...]:
    """Return the relations that the claim's deletions follow."""
    return relations.catalogue().children_of(claim.parent, claim.database, claim.relation)


class LiveClaim:
    """A claim at work, and which of its keys have no living parent now.

    Its creation looks up the content types of generic relations, and raises what
    `with_content_type` does.
    """

    def __init__(self, claim: Claim, *, checked: LiveClaim | None = None) -> None:
        """Take the claim; `checked` has checked the same parents, for all of its deletions."""
        catalogue = relations.catalogue()
        self.claim = claim
        self.parent = catalogue.parent(claim.parent)
        #: Relation → models whose rows erasure steps have to be asked about.
        self.covered = catalogue.covered
        self.pk = primary_key(self.parent)
        self.relations = tuple(map(with_content_type, relations_of(claim)))
        self.deletions = {deletion.id: deletion for deletion in claim.deletions}
        homes = (home for relation in self.relations for home in relation.parent_databases)
        self.row_backends = {
            alias: backends.row_backend(alias) for alias in {claim.database, *homes}
        }
        #: The parent's field → deletion → its value; and the same as each home of parents holds it.
        self._values: dict[Field, dict[int, Any]] = {}
        self._stored: dict[tuple[Field, str], dict[int, Any]] = {}
        #: Relation → deletion → key, as its rows hold it.
        self._keys: dict[str, dict[int, Any]] = {}
        #: The parent's field → deletions whose value a living row held at the last check.
        self._taken: dict[Field, set[int]] = {}
        if checked:
            self._taken |= checked._taken  # noqa: SLF001 (another claim, of this class)

    def gone_keys(self, relation: Relation, *, fresh: bool = True) -> dict[Any, int]:
        """Return key, as rows hold it → deletion, for the keys whose parent is gone now.

        A value that a living row holds is left out: Note [Keys that come back]. Unless `fresh`, the
        result of the last check of the same field is used. Of a key that was deleted several times,
        one deletion is returned.
        """
        return {key: owner for owner, key in self._gone(relation, fresh=fresh).items()}

    def unfinished(self, wanted: Sequence[Relation]) -> set[int]:
        """Return the deletions for which some row is, or may be, left along those relations.

        A row may be left where the log does not say which rows those are. Checks the parents anew.
        """
        self.forget_living_parents()
        left = set[int]().union(*map(self.left_along, wanted))
        return left.union(*map(self.unknown_along, wanted))

    def all_gone(self, wanted: Iterable[Relation]) -> bool:
        """Return whether no living row holds the value of a deletion that those relations follow.

        Checks the parents of all deletions, once for each field.
        """
        for relation in wanted:
            if relation.target not in self._taken:
                self._taken[relation.target] = self._living(relation, relation.target)
        return not any(self._taken.values())

    def forget_living_parents(self) -> None:
        """Make the next call check the parents anew."""
        self._taken.clear()

    def left_along(self, relation: Relation, cleared: Collection[Any] = frozenset()) -> set[int]:
        """Return the deletions for which some row is left along that relation.

        Keys that are `cleared` are known to have none.
        """
        gone = self._gone(relation, fresh=False)
        wanted = [key for key in dict.fromkeys(gone.values()) if key not in cleared]
        if not wanted:
            return set()
        held = self.row_backends[self.claim.database].keys_with_rows(
            relation.field, wanted, using=self.claim.database
        )
        return {owner for owner, key in gone.items() if key in held}

    def uncommitted_along(self, relation: Relation) -> set[int]:
        """Return the deletions whose rows along that relation an open transaction has changed.

        They are among those without a row at the last look. Call it outside of transactions.
        """
        gone, database = self._gone(relation, fresh=False), self.claim.database
        wanted = [*dict.fromkeys(gone.values())]
        backend = backends.barrier_backend(database)
        changed = backend.uncommitted_keys(relation.field, wanted, using=database)
        return {owner for owner, key in gone.items() if key in changed} if changed else set()

    def has_only_lookalikes(self, relation: Relation) -> bool:
        """Return whether the rows left equal keys of gone parents by the column's collation alone.

        See Note [Equal by collation] in backends/collations.py.
        """
        keys, database = list(self.gone_keys(relation, fresh=False)), self.claim.database
        if not keys or not collations.is_exact(relation.field, database):
            return False
        backend = self.row_backends[database]
        return not backend.count_by_key(relation.field, keys, 1, using=database)

    def has_unlocked_row(self, relation: Relation) -> bool:
        """Return whether some row of the gone parents is not locked by another transaction."""
        keys, database = list(self.gone_keys(relation, fresh=False)), self.claim.database
        backend, lock_seconds = self.row_backends[database], conf.current().lock_seconds
        with backend.own_session(using=database), atomic(database):
            backend.begin_step(lock_seconds=lock_seconds, using=database)
            return bool(keys and backend.lock_rows(relation.field, keys, 1, using=database))

    def kept_along(self, relation: Relation) -> dict[int, int]:
        """Return the deletions whose value a living row holds, with the rows that refer to it.

        By the last check. See Note [Keys that come back].
        """
        gone = self._gone(relation, fresh=False)
        keys = {
            owner: key for owner, key in self._keys[relation.label].items() if owner not in gone
        }
        if not keys:
            return {}
        database, wanted = self.claim.database, [*dict.fromkeys(keys.values())]
        rows = self.row_backends[database].count_by_key(
            relation.field, wanted, kept.COUNTED_MAX + 1, using=database
        )
        return {owner: rows.get(key, 0) for owner, key in keys.items()}

    def free_along(self, relation: Relation) -> set[int]:
        """Return the deletions whose value no living row held at the last check.

        Those of a parent that had no value in that field are neither free nor kept.
        """
        return {*self._gone(relation, fresh=False)}

    def unknown_along(self, relation: Relation) -> set[int]:
        """Return the deletions of which the log does not say what the relation's rows hold.

        A field has another name than when it was written, or no relation asked for it then.
        """
        target = relation.target
        if target == self.pk:
            return {one.id for one in self.claim.deletions if one.key is None}
        return {one.id for one in self.claim.deletions if target.name not in one.targets}

    def _gone(self, relation: Relation, *, fresh: bool) -> dict[int, Any]:
        """Return deletion → key, for every deletion of a key. See `gone_keys`."""
        target = relation.target
        if fresh or target not in self._taken:
            self._taken[target] = self._living(relation, target)
        taken, keys = self._taken[target], self._keys.get(relation.label)
        if keys is None:
            keys = self._keys[relation.label] = self._held(relation)
        return {owner: key for owner, key in keys.items() if owner not in taken} if taken else keys

    def _held(self, relation: Relation) -> dict[int, Any]:
        """Return cascade → the value that rows hold which refer to the parent.

        A text field may hold keys of another type, and then they are converted. All other fields
        hold the parent's value. See Note [Prepared once] in relations/stored.py.
        """
        values, field = self._values_of(relation.target), relation.field
        held: Iterable[Any] = values.values()
        if writes_text(field):
            held = [to_stored(field, value) for value in held]
        return dict(zip(values, stored.prepare_all(field, held, self.claim.database), strict=True))

    def _living(self, relation: Relation, target: Field) -> set[int]:
        """Return the deletions whose value a parent holds now; see Note [The live check]."""
        living = set[int]()
        for home in relation.parent_databases:
            keys = self._stored.get((target, home)) or self._prepare(target, home)
            wanted = [*dict.fromkeys(keys.values())]
            existing = wanted and self.row_backends[home].keys_with_rows(target, wanted, using=home)
            if existing:
                living |= {owner for owner, key in keys.items() if key in existing}
        if connections[self.claim.database].vendor == "mysql":
            living |= self._living_lookalikes(target, living)
        return living

    def _living_lookalikes(self, target: Field, living: set[int]) -> set[int]:
        """Return deletions of keys that the child takes for a living parent's.

        See Note [Equal by collation] in backends/collations.py.
        """
        database, taken = self.claim.database, set[int]()
        for relation in self.relations if collations.is_text(target) else ():
            if relation.target == target and collations.is_exact(relation.field, database):
                values = self._values_of(target)
                texts = {pk: str(value) for pk, value in values.items() if pk not in living}
                alive = lookups.living_lookalikes(relation, texts, database)
                taken |= {*alive}
        return taken

    def _prepare(self, target: Field, home: str) -> dict[int, Any]:
        """Return deletion → value of `target`, as a row of that home holds it."""
        values = self._values_of(target)
        prepared = stored.prepare_all(target, values.values(), home)
        by_deletion = self._stored[target, home] = dict(zip(values, prepared, strict=True))
        return by_deletion

    def _values_of(self, target: Field) -> dict[int, Any]:
        """Return deletion → value of that field of the parent, where the log has it."""
        if target not in self._values:
            if target == self.pk:
                texts = {one.id: one.key for one in self.claim.deletions}
            else:
                texts = {one.id: one.targets.get(target.name) for one in self.claim.deletions}
            self._values[target] = {
                owner: parse_key(target, text) for owner, text in texts.items() if text is not None
            }
        return self._values[target]
