"""What a backend says of the rows that it has deleted, or is about to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Gone(Counter[Any]):
    """How many rows of each key a statement has deleted: `whole` if it saw no others of them."""

    whole = False


@dataclass(frozen=True, slots=True)
class Deleted:
    """Rows that a statement has deleted: how many of each key, and their primary keys.

    `key_of` returns the key that the row with a primary key held. `whole`: see `Gone`.
    """

    numbers: Counter[Any]
    pks: Sequence[Any]
    key_of: Callable[[Any], Any]
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Dense:
    """Blocks of a table from the first row of a key to its last one; its rows in each block."""

    blocks: range
    rows_per_block: float
