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
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import transaction

from ..exceptions import RowsKept
from ..relations import relation
from ..relations.plan import replacement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..backends.base import RowBackend
    from ..relations import Field
    from ..relations.plan import Node

#: Rows changed, for each label and key.
Counts = dict[str, Counter[Any]]
#: That, and whether there may be more.
StepResult = tuple[Counts, bool]


class TooManyLeaves(Exception):
    """More rows refer to the `roots` of a step than it may change. Nothing may be committed."""

    def __init__(self, roots: int) -> None:
        self.roots = roots
        super().__init__(f"too many rows refer to {roots} rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What one step may change.

    `rows` is what it should change in all: roots and what refers to them. `per_root` is the rows
    that go with one root, itself included, as far as known. No statement changes more than
    `statement` rows. `roots_most` is lower after a step began with too many roots. It is 0 where
    one root alone has too many leaves: these go first, in several transactions. A step is `paced`
    where a setting allows fewer rows than would fit into its time.
    """

    rows: int
    statement: int
    per_root: float = 0.0
    roots_most: int | None = None
    paced: bool = False

    def roots(self, node: Node) -> int:
        """Return how many roots a step begins with, so that it gets done with them."""
        most = max(1, int(self.rows / (self.per_root or 1 + len(node.below))))
        return most if self.roots_most is None else min(most, max(1, self.roots_most))

    @property
    def in_parts(self) -> bool:
        """Return whether the leaves of one root may go before it, in several transactions."""
        return self.roots_most == 0


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
    return _LeavesFirst(backend, using, allowed, skip_locked=skip_locked).step(node, keys)


class _Tree:
    """The rows of some roots, with all that refers to them, in one transaction."""

    def __init__(
        self, backend: RowBackend, using: str, allowed: Allowance, *, skip_locked: bool = False
    ) -> None:
        self.backend, self.using, self.allowed = backend, using, allowed
        self.skip_locked = skip_locked
        self.counts: Counts = defaultdict(Counter)
        self.roots = self.changed = 0

    def _remove(self, node: Node, field: Field, owners: dict[Any, Any]) -> bool:
        """Delete the node's rows whose `field` holds one of `owners`; return whether all went."""
        pks, limit, using = list(owners), self.allowed.statement, self.using
        if len({*owners.values()}) == 1:  # all for one: the sum is enough
            number = self.backend.delete_total(
                field, pks, limit, using=using, skip_locked=self.skip_locked
            )
            gone = Counter({pks[0]: number} if number else {})
        else:
            gone = self.backend.delete_rows(
                field, pks, limit, using=using, skip_locked=self.skip_locked
            )
        self._count(node, owners, gone)
        return gone.total() < limit

    def _replace(self, node: Node, owners: dict[Any, Any]) -> bool:
        """Put the policy's value in place of `owners`; return whether in all rows."""
        changed = self.backend.update_rows(
            node.field,
            list(owners),
            replacement(node.field, self.using),
            self.allowed.statement,
            using=self.using,
            skip_locked=self.skip_locked,
        )
        self._count(node, owners, changed)
        return changed.total() < self.allowed.statement

    def _count(self, node: Node, owners: Mapping[Any, Any], changed: Counter[Any]) -> None:
        self.changed += changed.total()
        counted = self.counts[node.label]
        for pk, number in changed.items():
            counted[owners[pk]] += number

    def _go_on(self) -> None:
        """Raise `TooManyLeaves`, unless one root alone may take another statement."""
        if self.roots > 1 or self.changed > self.allowed.statement:
            raise TooManyLeaves(self.roots)


class _HeldBelow(Exception):
    """Somebody holds rows that refer to rows of this step."""


class _RootsFirst(_Tree):
    """See Note [Whole rows]."""

    def step(self, node: Node, keys: list[Any]) -> StepResult:
        most = self.allowed.roots(node)
        roots = self._take(node, {key: key for key in keys}, most)
        self.roots = len(roots)
        self._clear_below(node, roots)
        return self.counts, len(roots) >= most

    def _take(self, node: Node, owners: Mapping[Any, Any], limit: int) -> dict[Any, Any]:
        """Delete rows of a level that has leaves; return their primary keys → key."""
        taken = self.backend.delete_returning_keys(
            node.field, list(owners), limit, using=self.using
        )
        self._count(node, owners, Counter(taken.values()))
        return {pk: owners[above] for pk, above in taken.items()}

    def _clear_below(self, node: Node, owners: dict[Any, Any]) -> None:
        for sub in node.below if owners else ():
            while not self._clear(sub, owners):
                self._go_on()
            if not self.backend.is_constrained(sub.field, using=self.using):
                self._require_none(sub, owners)

    def _clear(self, sub: Node, owners: dict[Any, Any]) -> bool:
        if sub.update:
            return self._replace(sub, owners)
        if not sub.below:
            return self._remove(sub, sub.field, owners)
        taken = self._take(sub, owners, self.allowed.statement)
        self._clear_below(sub, taken)
        return len(taken) < self.allowed.statement

    def _require_none(self, sub: Node, owners: dict[Any, Any]) -> None:
        """Without a constraint, nobody else notices a row that a trigger has kept."""
        if self.backend.keys_with_rows(sub.field, list(owners), using=self.using):
            raise RowsKept(sub.label, self.using)


class _LeavesFirst(_Tree):
    """The roots stay locked meanwhile, so that they don't move and take no new leaves."""

    def step(self, node: Node, keys: list[Any]) -> StepResult:
        most = self.allowed.roots(node)
        roots = self.backend.lock_rows(node.field, keys, most, using=self.using)
        more = len(roots) >= most
        while roots:
            self.roots, self.changed = len(roots), 0
            self.counts.clear()
            whole = dict(roots)
            try:
                return self.counts, not self._clear_whole(node, roots) or more
            except _HeldBelow:
                roots = {pk: key for pk, key in whole.items() if pk in roots}
        return {}, False

    def _clear_whole(self, node: Node, roots: dict[Any, Any]) -> bool:
        """Delete the roots with all their leaves; return whether no part of them is left.

        Raises `_HeldBelow`, with nothing changed, where somebody holds leaves of some of them;
        those are taken out of `roots`.
        """
        number = len(roots)
        # Without skipped rows none is held: then the savepoint's two round trips are spared.
        with transaction.atomic(using=self.using) if self.skip_locked else nullcontext():
            cleared = self._clear_below(node, roots)
            if len(roots) < number and not self.allowed.in_parts:
                raise _HeldBelow
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
            return self._replace(sub, owners)
        if not sub.below:
            return self._remove(sub, sub.field, owners)
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
            self._remove(node, relation.primary_key(node.field.model), owners)
