"""Removes rows after the erasure steps were asked about them.

Takes a plan's tree; removes rows as `delete_trees` does, but by their primary keys: they are locked
first, then the steps are asked, and then exactly those rows go. If one of them stays, nothing is
committed: what was found for it must not be erased.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ..exceptions import RowsKept
from .trees import HeldBelow, LeavesFirst

if TYPE_CHECKING:
    from ..backends.base import RowBackend
    from ..relations.plan import Node
    from .allowance import Allowance, StepResult
    from .gatherer import Gatherer


class Gathering(LeavesFirst):
    """Removes locked rows by their primary keys. See Note [Whole rows] in trees.py."""

    def __init__(
        self, backend: RowBackend, using: str, allowed: Allowance, gatherer: Gatherer
    ) -> None:
        # With `skip_locked`, it makes sure that no row below is left, however it was missed.
        by_index = dataclasses.replace(allowed, walk=None)
        super().__init__(backend, using, by_index, skip_locked=True)
        self.gatherer = gatherer

    def _clear_whole(self, node: Node, roots: dict[Any, Any]) -> bool:
        before = len(self.gatherer.found)
        try:
            return super()._clear_whole(node, roots)
        except HeldBelow:
            del self.gatherer.found[before:]
            raise

    def _clear(self, sub: Node, owners: dict[Any, Any]) -> bool:
        if sub.update or sub.below or not self.gatherer.covers(sub.field.model):
            return super()._clear(sub, owners)
        limit = self.allowed.statement
        above = self.backend.lock_rows(sub.field, list(owners), limit, using=self.using)
        self._delete(sub, {pk: owners[key] for pk, key in above.items()})
        return len(above) < limit

    def _delete(self, node: Node, owners: dict[Any, Any]) -> None:
        self.gatherer.gather(node.field.model, owners)
        before = self.changed
        super()._delete(node, owners)
        if self.changed - before != len(owners):
            raise RowsKept(node.label, self.using)


def delete_gathering(
    backend: RowBackend,
    node: Node,
    keys: list[Any],
    allowed: Allowance,
    gatherer: Gatherer,
    *,
    using: str,
) -> StepResult:
    """Delete rows of `keys`, with what refers to them, after the erasure steps were asked."""
    return Gathering(backend, using, allowed, gatherer).step(node, keys)
