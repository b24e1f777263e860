"""Walks through the blocks of a table in which one key has very many rows.

See Note [By blocks] in backends/postgresql/blocks.py. A walk belongs to a time slice: the next one
begins again at the first row that is left. A second one may come to meet it from the last row:
second_walk.py. Each step is checked like every other, and when the walks are over, steps by an
index follow until they find nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from ..backends.deleted import Deleted
from ..relations.plan import Strategy

if TYPE_CHECKING:
    from ..backends.base import RowBackend
    from ..backends.deleted import Dense
    from ..relations import Field
    from ..relations.plan import Plan

#: Blocks for this share of the rows that a step may change: some blocks have more than others.
SHARE = 0.8
#: Where a block has fewer rows of the key, the walk is over.
MIN_ROWS_PER_BLOCK = 1.0
#: No block has more rows than this, of any size that PostgreSQL knows. (A walk that is under way
#: may still meet one with more than a step may delete: these become fewer after a failure.)
MOST_IN_BLOCK = 1_200


@dataclass(slots=True)
class Blocks:
    """The blocks that no walk has taken yet. One walk takes the first ones, another the last."""

    start: int
    stop: int
    _lock: Lock = field(default_factory=Lock)

    def __len__(self) -> int:
        return self.stop - self.start

    def take_first(self, number: int, *, again: range) -> range:
        """Take that many blocks. Those of `again`, which the same walk took last, are put back."""
        with self._lock:
            start = again.start if again else self.start
            self.start = min(start + number, self.stop)
            return range(start, self.start)

    def take_last(self, number: int, *, again: range) -> range:
        """Take that many blocks from the other end."""
        with self._lock:
            stop = again.stop if again else self.stop
            self.stop = max(stop - number, self.start)
            return range(self.stop, stop)


@dataclass(slots=True)
class Walk:
    """The blocks that are left, and the rows of the key in each of them by the last step."""

    blocks: Blocks
    rows_per_block: float
    backwards: bool = False
    #: The blocks of the step under way, or of one that failed, and how many rows it has deleted.
    taken: range = range(0)
    number: int = 0

    @property
    def over(self) -> bool:
        """Return whether the rows that are left go by an index."""
        return self.rows_per_block < MIN_ROWS_PER_BLOCK or not (self.taken or self.blocks)

    @property
    def rows(self) -> float:
        """Return about how many rows are left."""
        return len(self.blocks) * self.rows_per_block

    def delete(
        self,
        backend: RowBackend,
        field: Field,
        key: Any,
        rows: int,
        *,
        most: int,
        pks: bool,
        using: str,
    ) -> Deleted:
        """Delete about `rows` rows of the key, at most `most`, in the blocks that are next.

        Where a single block has more than `most`, nothing is deleted, and the walk is over.
        """
        take = self.blocks.take_last if self.backwards else self.blocks.take_first
        wanted = max(1, int(SHARE * rows / self.rows_per_block))
        while wanted:
            self.taken = take(wanted, again=self.taken)
            gone = backend.delete_in_blocks(field, key, self.taken, most, pks=pks, using=using)
            if gone is not None:
                self.number = gone.numbers.total()
                return gone
            wanted = len(self.taken) // 2
        self.rows_per_block, self.taken = 0.0, range(0)
        return Deleted(Counter(), (), str)

    def lock(
        self, backend: RowBackend, field: Field, key: Any, rows: int, *, most: int, using: str
    ) -> dict[Any, Any]:
        """Lock about `rows` rows of the key, at most `most`, in the blocks that are next."""
        take = self.blocks.take_last if self.backwards else self.blocks.take_first
        self.taken = take(max(1, int(SHARE * rows / self.rows_per_block)), again=self.taken)
        locked = backend.lock_in_blocks(field, key, self.taken, most, using=using)
        self.number = len(locked)
        return locked

    def advance(self) -> None:
        """Go on behind the blocks of the last step: it is committed."""
        if self.taken:
            self.rows_per_block, self.taken = self.number / len(self.taken), range(0)


def begun(backend: RowBackend, plan: Plan, key: Any, most: int, *, using: str) -> Walk | None:
    """Return a walk through the rows of `key`, whose steps delete at most `most` rows.

    None where there are too few, or where they need another way: rows go before those that refer to
    them, because which go is known only afterwards. Or they are locked before.
    """
    below = [sub.field for top in plan.root.all for sub in top.below]
    if (
        plan.strategy is not Strategy.SET_BASED
        or most < MOST_IN_BLOCK
        or not (
            backend.locks_in_blocks
            or all(backend.can_delete_before(leaf, using=using) for leaf in below)
        )
    ):
        return None
    dense: Dense | None = backend.dense_blocks(plan.root.field, key, using=using)
    if not dense:
        return None
    return Walk(Blocks(dense.blocks.start, dense.blocks.stop), dense.rows_per_block)
