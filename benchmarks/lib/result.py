"""The result of a benchmark, and pure functions to compute it from rounds."""

# ruff: noqa: RUF001 - typographic signs

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A figure and its target. Most figures are ratios; `unit` is the unit of the others.

    `samples` has the figure of each round, and `detail` has data that explains it. A figure without
    a target is for comparison only.
    """

    id: str
    title: str
    ratio: float
    target: float | None
    samples: tuple[float, ...]
    unit: str = "×"
    at_least: bool = False
    detail: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, name: str, title: str, samples: Iterable[float], target: float | None, **more: Any
    ) -> Result:
        """Return the result with the median of the rounds."""
        kept = tuple(samples)
        ratio = statistics.median(kept)
        return cls(id=name, title=title, ratio=ratio, target=target, samples=kept, **more)

    @property
    def benchmark(self) -> str:
        """The id of its benchmark, such as "B7"."""
        return self.id.partition(".")[0]

    @property
    def ok(self) -> bool:
        """Whether the target was reached."""
        if self.target is None:
            return True
        return self.ratio >= self.target if self.at_least else self.ratio <= self.target

    def __str__(self) -> str:
        spread = ""
        if len(self.samples) > 1:
            spread = f" ({short(min(self.samples))}–{short(max(self.samples))})"
        figure = f"{short(self.ratio)}{spread} {self.unit}"
        if self.target is None:
            return f"       {self.id:<14} {self.title}: {figure}"
        sign, verdict = "≥" if self.at_least else "≤", "ok" if self.ok else "MISSED"
        return f"{verdict:<6} {self.id:<14} {self.title}: {figure}, target {sign} {self.target:g}"

    def document(self) -> dict[str, Any]:
        """Return the result for JSON."""
        return {
            "id": self.id,
            "title": self.title,
            "ratio": round(self.ratio, 4),
            "target": None if self.target is None else round(self.target, 4),
            "ok": self.ok,
            "unit": self.unit,
            "at_least": self.at_least,
            "samples": [round(sample, 4) for sample in self.samples],
            "detail": dict(self.detail),
        }


def interleaved(
    rounds: int, measures: Mapping[str, Callable[[], float]], tell: Callable[[str], object]
) -> dict[str, list[float]]:
    """Run every measure once in each round; return the samples of each.

    Interference then affects all measures alike. The order rotates from round to round. `tell` gets
    a line of progress after each round.
    """
    samples: dict[str, list[float]] = {name: [] for name in measures}
    names = list(measures)
    for number in range(rounds):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            samples[name].append(measures[name]())
        taken = ", ".join(f"{name} {short(samples[name][-1])}" for name in names)
        tell(f"round {number + 1} of {rounds}: {taken}")
    return samples


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return the ratio of each round."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def spread(samples: Sequence[float]) -> dict[str, float]:
    """Return the median, minimum and maximum."""
    middle = statistics.median(samples)
    figures = {"median": middle, "min": min(samples), "max": max(samples)}
    return {name: round(value, 4) for name, value in figures.items()}


def percentile(values: Iterable[float], percent: int = 95) -> float:
    """Return the smallest value that `percent` percent of all values do not exceed."""
    ordered = sorted(values)
    return ordered[-(-len(ordered) * percent // 100) - 1]


def short(value: float) -> str:
    """Format a number for a table."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004
