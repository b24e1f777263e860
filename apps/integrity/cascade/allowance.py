"""What one step may change, and what it says about the rows that are left. Pure."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..relations.plan import Strategy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..backends.batch_size import BatchSize
    from ..relations.plan import Node, Plan
    from .gatherer import Gatherer
    from .walks import Walk

#: Rows changed, for each label and key.
Counts = dict[str, Counter[Any]]


class Left(enum.Enum):
    """What a step knows about rows of its keys that it has not removed."""

    NONE = "it saw no row besides those that it removed"
    FEW = "it removed all that it found, but others may be locked, or kept by a trigger"
    SOME = "it removed as many as it was allowed to"


#: Rows changed, and what may be left.
StepResult = tuple[Counts, Left]


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What one step may change.

    `rows` is what it should change in all: roots and what refers to them. `per_root` is the rows
    that go with one root, itself included, as far as known. No statement changes more than
    `statement` rows. `roots_most` is lower after a step began with too many roots. It is 0 where
    one root alone has too many leaves: these go first, in several transactions. With a `walk`, the
    rows or roots are those in its next blocks. A step is `paced` where a setting allows fewer rows
    than would fit into its time.
    """

    rows: int
    statement: int
    per_root: float = 0.0
    roots_most: int | None = None
    walk: Walk | None = None
    paced: bool = False
    #: Asks erasure steps about the rows before they go; None where none covers them.
    gatherer: Gatherer | None = None

    def roots(self, node: Node) -> int:
        """Return how many roots a step begins with, so that it gets done with them."""
        most = max(1, int(self.rows / (self.per_root or 1 + len(node.below))))
        return most if self.roots_most is None else min(most, max(1, self.roots_most))

    @property
    def in_parts(self) -> bool:
        """Return whether the leaves of one root may go before it, in several transactions."""
        return self.roots_most == 0


#: Rows that one transaction of Django's Collector starts from: it loads all that hangs on them.
COLLECTOR_ROWS = 100

#: Roots that the first guess weighs as much as.
GUESSED_ROOTS = 200


def rows_per_root(node: Node, changed: Mapping[str, int]) -> float:
    """Return the rows that go with one root, by what the steps before have changed. Pure."""
    below = sum(changed.get(sub.label, 0) for sub in node.all) - changed.get(node.label, 0)
    roots = changed.get(node.label, 0) + GUESSED_ROOTS
    return 1 + (below + GUESSED_ROOTS * len(node.below)) / roots


def allowance(
    plan: Plan,
    batch_size: BatchSize,
    changed: Mapping[str, int],
    *,
    roots_most: int | None,
    most_rows: int | None,
    walk: Walk | None,
    gatherer: Gatherer | None = None,
) -> Allowance:
    """Return what the next step may change, by the size of its batch and what is changed so far.

    `most_rows` is what the setting `max_rows_per_second` allows, or None.
    """
    if plan.strategy is Strategy.COLLECTOR:  # it loads each row, and what hangs on it
        batch_size.rows = min(batch_size.rows, COLLECTOR_ROWS)
    rows = batch_size.rows if most_rows is None else min(batch_size.rows, most_rows)
    return Allowance(
        rows=rows,
        statement=rows if roots_most == 0 else batch_size.ceiling,
        per_root=rows_per_root(plan.root, changed) if plan.root.below else 1.0,
        roots_most=roots_most,
        walk=walk if roots_most is None else None,  # one block may have more roots than that
        paced=rows < batch_size.rows,
        gatherer=gatherer,
    )
