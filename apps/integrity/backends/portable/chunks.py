"""Lists of values in parts, each of which fits into one statement of any engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..base import NO_KEYS

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Values in one list: two lists stay under the lowest limit of parameters (SQLite's old 999).
PARAMETERS = 450


def chunks(values: Sequence[Any]) -> list[Sequence[Any]]:
    """Return the values in parts, each of which fits into one statement.

    Raises `ValueError` for none: no statement runs without its condition.
    """
    if not values:
        raise ValueError(NO_KEYS)
    return [values[start : start + PARAMETERS] for start in range(0, len(values), PARAMETERS)]
