"""Deletes rows with all rows that refer to them, as a whole, in the caller's transaction.

Takes a plan's tree and an allowance; returns the rows changed, per label and key, or raises with
nothing to be committed. Nothing here decides whether a parent is gone: see `live_check.LiveClaim`.

Note [Whole rows]: a row that moves to a living parent must keep all its leaves. So a step changes
nothing, or finishes the roots that it begins with. Roots go first where the database checks their
foreign keys at the commit: the DELETE is the lock, and the leaves are looked for afterwards, by a
statement that sees what was committed meanwhile. Elsewhere, and where somebody holds rows, the
roots are locked and go last. Only the leaves of one root that has more of them than a statement may
touch go in parts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import transaction

from ..exceptions import RowsKept
from ..relations import relation
from ..relations.plan import replacement
from .allowance import Left

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..backends.base import RowBackend
    from ..backends.deleted import Deleted
    from ..relations import Field
    from ..relations.plan import Node
    from .allowance import Allowance, Counts, StepResult

#: A row's primary key → the root's key.
KeyOf = Callable[[Any], Any]


def itself(key: Any) -> Any:
    """Return the key: the rows are those of the keys themselves."""
    return key


class TooManyLeaves(Exception):
    """More rows refer to the `roots` of a step than it may change. Nothing may be committed."""

    def __init__(self, roots: int) -> None:
        self.roots = roots
        super().__init__(f"too many rows refer to {roots} rows")


@dataclass(frozen=True, slots=True)
class Above:
    """Rows that others may refer to: their primary keys, and the root's key of each.

    `whole`: all that there were.
    """

    pks: Sequence[Any]
    key_of: KeyOf
    whole: bool = False

    @classmethod
    def of(cls, owners: Mapping[Any, Any]) -> Above:
        """Return the rows of primary key → key."""
        return cls(list(owners), owners.__getitem__)


def delete_trees(
    backend: RowBackend,
    node: Node,
    keys: list[Any],
    allowed: Allowance,
    *,
    using: str,
    skip_locked: bool,
) -> StepResult:
    """Delete rows of `keys` that others refer to, with those. See Note [Whole rows]."""
    leaves = (sub.field for top in node.all for sub in top.below)
    if (
        not skip_locked
        and not allowed.in_parts
        and all(backend.can_delete_before(f, using=using) for f in leaves)
    ):
        return _RootsFirst(backend, using, allowed).step(node, keys)
    return LeavesFirst(backend, using, allowed, skip_locked=skip_locked).step(node, keys)


class _Tree:
    """The rows of some roots, with all that refers to them, in one transaction."""

    def __init__(
        self, backend: RowBackend, using: str, allowed: Allowance, *, skip_locked: bool = False
    ) -> None:
        self.backend, self.using, self.allowed = backend, using, allowed
        self.skip_locked = skip_locked
        self.counts: Counts = defaultdict(Counter)
        self.roots = self.changed = 0
        self.keys: Sequence[Any] = ()

    def _remove(self, node: Node, field: Field, above: Above) -> bool:
        """Delete the node's rows whose `field` holds one of `above`; return whether all went."""
        limit, using = self.allowed.statement, self.using
        if len(self.keys) == 1:  # all for one: the sum is enough
            number = self.backend.delete_total(
                field, above.pks, limit, using=using, skip_locked=self.skip_locked
            )
            gone = Counter({self.keys[0]: number} if number else {})
            self._count(node, itself, gone)
        else:
            gone = self.backend.delete_rows(
                field, above.pks, limit, using=using, skip_locked=self.skip_locked
            )
            self._count(node, above.key_of, gone)
        return gone.total() < limit

    def _replace(self, node: Node, above: Above) -> bool:
        """Put the policy's value in place of `above`; return whether in all rows."""
        changed = self.backend.update_rows(
            node.field,
            above.pks,
            replacement(node.field, self.using),
            self.allowed.statement,
            using=self.using,
            skip_locked=self.skip_locked,
        )
        self._count(node, above.key_of, changed)
        return changed.total() < self.allowed.statement

    def _count(self, node: Node, key_of: KeyOf, changed: Counter[Any]) -> None:
        self.changed += changed.total()
        counted = self.counts[node.label]
        for pk, number in changed.items():
            counted[key_of(pk)] += number

    def _go_on(self) -> None:
        """Raise `TooManyLeaves`, unless one root alone may take another statement."""
        if self.roots > 1 or self.changed > self.allowed.statement:
            raise TooManyLeaves(self.roots)


class HeldBelow(Exception):
    """Somebody holds rows that refer to rows of this step."""


class _RootsFirst(_Tree):
    """See Note [Whole rows]."""

    def step(self, node: Node, keys: list[Any]) -> StepResult:
        self.keys, most, walk = keys, self.allowed.roots(node), self.allowed.walk
        if walk is None:
            roots = self._take(node, Above(keys, itself), most)
        else:
            limit, using = self.allowed.statement, self.using
            gone = walk.delete(
                self.backend, node.field, keys[0], most, most=limit, pks=True, using=using
            )
            roots = self._taken(node, itself, gone)
        self.roots = len(roots.pks)
        self._clear_below(node, roots)
        if walk is not None or self.roots >= most:
            return self.counts, Left.SOME
        return self.counts, Left.NONE if roots.whole else Left.FEW

    def _take(self, node: Node, above: Above, limit: int) -> Above:
        """Delete rows of a level that has leaves; return them."""
        gone = self.backend.delete_returning_keys(node.field, above.pks, limit, using=self.using)
        return self._taken(node, above.key_of, gone)

    def _taken(self, node: Node, key_of: KeyOf, gone: Deleted) -> Above:
        self._count(node, key_of, gone.numbers)
        return Above(gone.pks, lambda pk: key_of(gone.key_of(pk)), whole=gone.whole)

    def _clear_below(self, node: Node, above: Above) -> None:
        for sub in node.below if above.pks else ():
            while not self._clear(sub, above):
                self._go_on()
            if not self.backend.is_constrained(sub.field, using=self.using):
                self._require_none(sub, above)

    def _clear(self, sub: Node, above: Above) -> bool:
        if sub.update:
            return self._replace(sub, above)
        if not sub.below:
            return self._remove(sub, sub.field, above)
        taken = self._take(sub, above, self.allowed.statement)
        self._clear_below(sub, taken)
        return len(taken.pks) < self.allowed.statement

    def _require_none(self, sub: Node, above: Above) -> None:
        """Without a constraint, nobody else notices a row that a trigger has kept."""
        if self.backend.keys_with_rows(sub.field, above.pks, using=self.using):
            raise RowsKept(sub.label, self.using)


class LeavesFirst(_Tree):
    """The roots stay locked meanwhile, so that they don't move and take no new leaves."""

    def step(self, node: Node, keys: list[Any]) -> StepResult:
        """Delete rows of `keys` with all that refers to them."""
        self.keys, most, walk = keys, self.allowed.roots(node), self.allowed.walk
        if walk is None:
            roots = self.backend.lock_rows(node.field, keys, most, using=self.using)
            more = len(roots) >= most
        else:
            roots = walk.lock(
                self.backend,
                node.field,
                keys[0],
                most,
                most=self.allowed.statement,
                using=self.using,
            )
            more = True
        while roots:
            self.roots, self.changed = len(roots), 0
            self.counts.clear()
            whole = dict(roots)
            try:
                more = not self._clear_whole(node, roots) or more
            except HeldBelow:
                roots = {pk: key for pk, key in whole.items() if pk in roots}
            else:
                return self.counts, Left.SOME if more else Left.FEW
        return {}, Left.FEW if walk is None else Left.SOME

    def _clear_whole(self, node: Node, roots: dict[Any, Any]) -> bool:
        """Delete the roots with all their leaves; return whether no part of them is left.

        Raises `HeldBelow`, with nothing changed, where somebody holds leaves of some of them;
        those are taken out of `roots`.
        """
        number = len(roots)
        # Without skipped rows none is held: then the savepoint's two round trips are spared.
        with transaction.atomic(using=self.using) if self.skip_locked else nullcontext():
            cleared = self._clear_below(node, roots)
            if len(roots) < number and not self.allowed.in_parts:
                raise HeldBelow
            if cleared:
                self._delete(node, roots)
        return cleared

    def _clear_below(self, node: Node, owners: dict[Any, Any]) -> bool:
        """Clear what refers to `owners` (primary key → key); False where a part of it is left.

        Rows that somebody's locked row still refers to are taken out of `owners`.
        """
        for sub in node.below:
            while owners and not self._clear(sub, owners):
                if self.allowed.in_parts:
                    return False
                self._go_on()
            if self.skip_locked and owners:
                for pk in self.backend.keys_with_rows(sub.field, list(owners), using=self.using):
                    del owners[pk]
        return True

    def _clear(self, sub: Node, owners: dict[Any, Any]) -> bool:
        if sub.update:
            return self._replace(sub, Above.of(owners))
        if not sub.below:
            return self._remove(sub, sub.field, Above.of(owners))
        limit = self.allowed.statement
        above = self.backend.lock_rows(sub.field, list(owners), limit, using=self.using)
        inner = {pk: owners[pk_above] for pk, pk_above in above.items()}
        if inner and not self._clear_below(sub, inner):
            return False
        self._delete(sub, inner)
        return len(above) < limit

    def _delete(self, node: Node, owners: dict[Any, Any]) -> None:
        """Delete rows whose leaves are gone and that this transaction has locked."""
        if owners:
            self._remove(node, relation.primary_key(node.field.model), Above.of(owners))
