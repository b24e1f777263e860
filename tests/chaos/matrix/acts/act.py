"""An act: a function of the stage, and the cells that it proves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..stage import Stage


@dataclass(frozen=True, slots=True)
class Act:
    """What is played, and for which cells."""

    play: Callable[[Stage], None]
    cells: tuple[str, ...]


def proves(*cells: str) -> Callable[[Callable[[Stage], None]], Act]:
    """Make an act of a function."""
    return lambda play: Act(play, cells)
