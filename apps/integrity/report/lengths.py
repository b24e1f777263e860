"""Numbers and lengths of time in words, for pages and commands. Pure."""

from __future__ import annotations

from . import limits


def span(seconds: float) -> str:
    """Return a duration in its two largest units."""
    whole = int(seconds)
    for size, unit, below, part in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // below
            small = rest and (unit != "min" or whole < 10 * size)
            return f"{whole // size} {unit} {rest} {part}" if small else f"{whole // size} {unit}"
    return f"{whole} s"


def count(number: int) -> str:
    """Return a number with commas; "10,000+" if counting stopped."""
    return f"{limits.COUNT_MAX:,}+" if number > limits.COUNT_MAX else f"{number:,}"


def number_of(number: int, noun: str) -> str:
    """Return the number with its noun. Pure."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
