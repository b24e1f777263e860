"""What to say of a name that is not known: the likely one first, then all that are. Pure."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: How alike two names have to be, from 0 to 1.
ALIKE = 0.6


def closest(name: str, known: Iterable[str]) -> str:
    """Return the known name that is most like `name`, or "". Upper and lower case do not matter."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(name.casefold(), [*by_folded], n=1, cutoff=ALIKE)
    return by_folded[close[0]] if close else ""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the sentence about an unknown name of that kind."""
    names = tuple(known)
    likely = closest(name, names)
    guess = f" did you mean {likely!r}?" if likely else ""
    return f"unknown {kind} {name!r};{guess} known: {', '.join(names) or 'none'}"
