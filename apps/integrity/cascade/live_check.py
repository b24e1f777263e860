"""A claim at hand: its keys as values, without those whose parent lives.

Takes what `log.claim` gives. Every statement on other people's rows gets its keys from here.

Note [The live check]: a parent counts as gone only if no row of its table holds the value that the
relation's rows hold (its primary key, or its `to_field`) *now*, on every primary it may live on,
asked past all managers and replicas.

Note [Keys that come back]: a value may belong to a row again: the same person's, restored; or
somebody else's, registered under a free name. Nobody can tell these rows from those of before, so
none of them is touched, and nothing is proven about them.

| seen | along that relation | the cascade | the deletion |
|---|---|---|---|
| the value is free until the verification | deleted, or replaced | verified | verified |
| taken before its rows went, or while they went | kept, counted | kept | kept |
| taken after its rows went, before verification | kept, counted (perhaps 0) | kept | kept |
| taken along one relation, free along others | kept; others as ever | kept, after probing | kept |
| taken in one child database, verified in others | as above in each | kept; verified | kept |
| taken after the verification | nothing any more | verified | verified |
| a suspect's (of a scan) at its second look | nothing: it was never a deletion | none | cancelled |
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

from django.db import transaction

from .. import backends, conf, relations
from ..log import kept
from ..relations import stored
from ..relations.generic import with_content_type
from ..relations.keys import parse_key, to_stored, writes_text
from ..relations.relation import primary_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..log.claims import Claim
    from ..relations import Field, Relation


def relations_of(claim: Claim) -> tuple[Relation, ...]:
    """The relations that its cascades go along."""
    one = claim.cascades[0]
    return relations.catalogue().children_of(one.parent, claim.database, one.relation)


class LiveClaim:
    """The cascades of a claim that still have to be dealt with.

    Each asks the content types of generic relations anew, and raises what `with_content_type` does.
    """

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.parent = relations.catalogue().parent(claim.cascades[0].parent)
        self.pk = primary_key(self.parent)
        self.relations = tuple(map(with_content_type, relations_of(claim)))
        self.cascades = {each.id: each for each in claim.cascades}
        homes = (home for each in self.relations for home in each.parent_databases)
        self.row_backends = {
            alias: backends.row_backend(alias) for alias in {claim.database, *homes}
        }
        #: The parent's field → cascade → its value; and the same as each home of parents holds it.
        self._values: dict[Field, dict[int, Any]] = {}
        self._stored: dict[tuple[Field, str], dict[int, Any]] = {}
        #: Relation → cascade → key, as its rows hold it.
        self._keys: dict[str, dict[int, Any]] = {}
        #: The parent's field → cascades whose value a living row held at the last look.
        self._taken: dict[Field, set[int]] = {}

    def gone_keys(self, relation: Relation, *, again: bool = True) -> dict[Any, int]:
        """Key, as rows hold it → cascade, for the keys of `relation` whose parent is gone now.

        A value that a living row holds is left out: Note [Keys that come back]. Unless `again`,
        what the last look at the same field saw is good enough. One owns what was deleted
        repeatedly.
        """
        return {key: owner for owner, key in self._gone(relation, again=again).items()}

    def unfinished(self, wanted: Sequence[Relation]) -> set[int]:
        """Cascades for which some row is left along those relations; looks anew, once.

        Or may be, because the log does not say which rows those are.
        """
        self.forget_living_parents()
        found = set[int]().union(*map(self.left_along, wanted))
        return found.union(*map(self.unknown_along, wanted))

    def forget_living_parents(self) -> None:
        """Look for the parents anew the next time that somebody asks for their rows."""
        self._taken.clear()

    def left_along(self, relation: Relation) -> set[int]:
        """Return the cascades for which some row is left along that relation."""
        gone = self._gone(relation, again=False)
        if not gone:
            return set()
        held = self.row_backends[self.claim.database].keys_with_rows(
            relation.field, [*dict.fromkeys(gone.values())], using=self.claim.database
        )
        return {owner for owner, key in gone.items() if key in held}

    def lockable(self, relation: Relation) -> bool:
        """Return whether some row of the gone parents is held by nobody."""
        keys, database = list(self.gone_keys(relation, again=False)), self.claim.database
        backend, lock_seconds = self.row_backends[database], conf.current().lock_seconds
        with transaction.atomic(using=database):
            backend.begin_step(lock_seconds=lock_seconds, using=database)
            return bool(keys and backend.lock_rows(relation.field, keys, 1, using=database))

    def kept_along(self, relation: Relation) -> dict[int, int]:
        """Return the cascades whose value a living row holds, with the rows that refer to it.

        By the last look. See Note [Keys that come back].
        """
        gone = self._gone(relation, again=False)
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
        """Return the cascades whose value no living row held at the last look.

        Those of a parent that had no value in that field are neither free nor kept.
        """
        return {*self._gone(relation, again=False)}

    def unknown_along(self, relation: Relation) -> set[int]:
        """Return the cascades of which the log does not say what the relation's rows hold.

        A field has another name than when it was written, or no relation asked for it then.
        """
        target = relation.target
        if target == self.pk:
            return {each.id for each in self.claim.cascades if each.key is None}
        return {each.id for each in self.claim.cascades if target.name not in each.targets}

    def _gone(self, relation: Relation, *, again: bool) -> dict[int, Any]:
        """Cascade → key, as rows hold it; as `owners`, but for each of a key's deletions."""
        target = relation.target
        if again or target not in self._taken:
            self._taken[target] = self._living(relation, target)
        taken, keys = self._taken[target], self._keys.get(relation.label)
        if keys is None:
            keys = self._keys[relation.label] = self._held(relation)
        return {owner: key for owner, key in keys.items() if owner not in taken}

    def _held(self, relation: Relation) -> dict[int, Any]:
        """Cascade → what the rows hold that refer to the parent. Note [Prepared once] (stored.py).

        A text that holds a key of another type is written anew; else rows hold what parents do.
        """
        values, field = self._values[relation.target], relation.field
        held: Iterable[Any] = values.values()
        if writes_text(field):
            held = [to_stored(field, value) for value in held]
        return dict(zip(values, stored.prepare_all(field, held, self.claim.database), strict=True))

    def _living(self, relation: Relation, target: Field) -> set[int]:
        """Cascades whose value of `target` a parent holds now; see Note [The live check]."""
        living = set[int]()
        for home in relation.parent_databases:
            keys = self._stored.get((target, home)) or self._prepare(target, home)
            wanted = [*dict.fromkeys(keys.values())]
            there = wanted and self.row_backends[home].keys_with_rows(target, wanted, using=home)
            if there:
                living |= {owner for owner, key in keys.items() if key in there}
        return living

    def _prepare(self, target: Field, home: str) -> dict[int, Any]:
        """Cascade → value of `target`, as a row of that home holds it."""
        values = self._values.get(target)
        if values is None:
            texts = {
                each.id: each.key if target == self.pk else each.targets.get(target.name)
                for each in self.claim.cascades
            }
            values = self._values[target] = {
                owner: parse_key(target, text) for owner, text in texts.items() if text is not None
            }
        prepared = stored.prepare_all(target, values.values(), home)
        found = self._stored[target, home] = dict(zip(values, prepared, strict=True))
        return found
