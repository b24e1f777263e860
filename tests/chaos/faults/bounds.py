"""What an experiment gives: figures, and bounds that they are to keep. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Figure:
    """Something measured that is worth knowing and promises nothing."""

    name: str
    measured: float
    unit: str = ""

    @property
    def value(self) -> str:
        """The measured value for people."""
        return f"{_short(self.measured)} {self.unit}".rstrip()

    def __str__(self) -> str:
        return f"{self.name}: {self.value}"

    def document(self) -> dict[str, Any]:
        """The same for programs."""
        return {"name": self.name, "measured": round(self.measured, 4), "unit": self.unit}


@dataclass(frozen=True, slots=True)
class Bound:
    """A figure and the most that it may be."""

    name: str
    measured: float
    limit: float
    unit: str = ""

    @property
    def held(self) -> bool:
        """Whether the promise was kept."""
        return self.measured <= self.limit

    @property
    def figure(self) -> Figure:
        """What was measured, without the limit."""
        return Figure(self.name, self.measured, self.unit)

    def __str__(self) -> str:
        verdict = "held" if self.held else "BROKEN"
        limit = f"{_short(self.limit)} {self.unit}".rstrip()
        return f"{verdict:<6} {self.figure} (at most {limit})"

    def document(self) -> dict[str, Any]:
        """The same for programs."""
        return {**self.figure.document(), "limit": round(self.limit, 4), "held": self.held}


def percentile(values: Iterable[float], percent: int = 95) -> float:
    """The smallest value that so many percent of all values do not exceed; 0 without values."""
    ordered = sorted(values)
    return ordered[math.ceil(len(ordered) * percent / 100) - 1] if ordered else 0.0


def most_within(moments: Iterable[float], seconds: float) -> int:
    """How many of the moments lie within so many seconds, at the worst."""
    ordered = sorted(moments)
    return max(
        (sum(first <= moment <= first + seconds for moment in ordered) for first in ordered),
        default=0,
    )


def _short(value: float) -> str:
    return f"{value:.0f}" if value == round(value) or value >= 1_000 else f"{value:.3g}"
