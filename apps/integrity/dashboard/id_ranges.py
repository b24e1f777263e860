"""Ids of deletions in an address: "3,7-12". Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The longest text that is made, in characters, so that no server refuses the address.
ROOM = 1_000
#: The most parts of a text that is read.
PARTS = 400
_PART = re.compile(r"(\d{1,18})(?:-(\d{1,18}))?")

#: First and last id.
Range = tuple[int, int]


def ranges_of(ids: Iterable[int]) -> list[Range]:
    """Return the ids as ranges, in order."""
    ranges: list[Range] = []
    for pk in sorted(set(ids)):
        if ranges and ranges[-1][1] == pk - 1:
            ranges[-1] = ranges[-1][0], pk
        else:
            ranges.append((pk, pk))
    return ranges


def text_of(ids: Iterable[int]) -> tuple[str, int]:
    """Return the text of the lowest of the ids, as many as there is room for, and their number."""
    text, number = "", 0
    for first, last in ranges_of(ids):
        part = f"{first}-{last}" if last > first else str(first)
        longer = f"{text},{part}" if text else part
        if len(longer) > ROOM:
            break
        text, number = longer, number + last - first + 1
    return text, number


def ranges_in(text: str) -> list[Range]:
    """Return the ranges that such a text names.

    Raises:
        ValueError: it is no such text, or has too many parts.
    """
    parts = [part.strip() for part in text.split(",")]
    matches = [_PART.fullmatch(part) for part in parts]
    if len(parts) > PARTS or not all(matches):
        raise ValueError(text)
    pairs = [(int(match[1]), int(match[2] or match[1])) for match in matches if match]
    if any(last < first for first, last in pairs):
        raise ValueError(text)
    return pairs
