"""What a seed decides about the zoo: which database each model lives in, and how it is set up.

Takes the seed; gives a `Spread`. Pure: the settings of both sides and the models read it.
"""

from __future__ import annotations

import functools
import os
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SEED, SIDE, VENDOR = "DIFFERENTIAL_SEED", "DIFFERENTIAL_SIDE", "DIFFERENTIAL_DATABASE"
#: The two sides: plain Django on one database, and this app on three.
ONE, SPREAD = "one", "spread"
#: In place of an engine: the databases that the environment names.
GIVEN = "given"
DEFAULT = "default"
ALIASES = (DEFAULT, "left", "right")

#: Models that Django needs in one database: proxies, parents by inheritance, both ends of a
#: ManyToManyField, both ends of a GenericRelation that is not declared.
TOGETHER: Mapping[str, str] = {
    "PlainProxy": "Plain",
    "BaseProxy": "Base",
    "Middle": "Base",
    "Final": "Base",
    "OwnBelow": "OwnAbove",
    "Book": "Shelf",
    "Shelf_books": "Shelf",
    "Node_friends": "Node",
    "Mark": "Item",
}
#: Models that have a receiver of their own, in one seed out of three: then Django's Collector works
#: where a set-based statement would.
HEARD_SHARE = 1 / 3
#: Keys that a model has, of those that it has in some seed.
KEPT_SHARE = 0.45
#: Rows of a step; a small one makes several steps of a few rows.
STEP_ROWS = (1, 2, 1_000)


@dataclass(frozen=True)
class Spread:
    """One drawing. `homes` is empty on the side with one database."""

    seed: int
    side: str
    vendor: str

    def home(self, model: str) -> str:
        """The alias of the database in which the model's rows live."""
        return self.drawn_home(model) if self.side == SPREAD else DEFAULT

    def drawn_home(self, model: str) -> str:
        """The same on the side with three databases, whichever side asks."""
        return self._random("home", TOGETHER.get(model, model)).choice(ALIASES)

    def together(self, child: str, parent: str) -> bool:
        """Whether both live in one database, on both sides."""
        return self.drawn_home(child) == self.drawn_home(parent)

    def constrained(self, child: str, parent: str) -> bool:
        """Whether the database knows of the key; the same on both sides, as far as it can be."""
        return self.together(child, parent) and self._random("constraint", child).random() < 1 / 2

    def declared(self, child: str, parent: str) -> bool:
        """Whether `child` holds plain columns that `INTEGRITY` declares, where others have keys."""
        return self.side == SPREAD and not self.together(child, parent)

    def keeps(self, child: str, prefix: str, policy: str) -> bool:
        """Whether the model has its key of that policy. Each key costs every delete a look."""
        return self._random("key", child, prefix, policy).random() < KEPT_SHARE

    def heard(self, model: str) -> bool:
        """Whether the model has a receiver of `post_delete`."""
        return self._random("heard", model).random() < HEARD_SHARE

    def content_types(self, child: str, parent: str) -> str:
        """The alias of the database whose content types a declared GenericForeignKey holds."""
        ends = (self.drawn_home(child), self.drawn_home(parent))
        return self._random("content types", child + parent).choice(ends)

    def capture(self) -> str:
        """What records deletions."""
        if self.vendor != "postgresql":
            return "signal"
        return self._random("capture").choice(("signal", "trigger", "both"))

    def step_rows(self) -> int:
        """Rows of a cascade's first statement."""
        return self._random("step").choice(STEP_ROWS)

    def _random(self, *purpose: str) -> random.Random:
        return random.Random(f"{self.seed} {' '.join(purpose)}")  # noqa: S311 (no secret)


@functools.cache
def current() -> Spread:
    """The drawing of this process, from its environment."""
    return Spread(int(os.environ[SEED]), os.environ[SIDE], os.environ[VENDOR])
