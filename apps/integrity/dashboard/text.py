"""One sentence on the overall state. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..report.lengths import count, number_of, span
from ..report.sentences import brief, public, sentence

if TYPE_CHECKING:
    from ..report.overview import Overview

__all__ = ["brief", "count", "number_of", "public", "sentence", "span"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One sentence on the overall state; `level` is "ok", "busy", "attention" or "trouble"."""

    level: str
    sentence: str


def verdict(seen: Overview) -> Verdict:
    """Return what someone on call should know first: the first fault, or that there is none."""
    for fault in seen.faults[:1]:
        return Verdict(level=fault.level, sentence=sentence(fault))
    if any(card["backlog"] for card in seen.cards):
        names = " and ".join(card["database"] for card in seen.cards if card["backlog"])
        return Verdict(level="busy", sentence=f"Deletions wait or are being applied in {names}.")
    if any(card["unproven"] for card in seen.cards):
        state = "All deletions are applied; the last ones are still to be verified"
    else:
        state = "All deletions are applied and verified"
    if seen.unscanned:
        return Verdict(level="busy", sentence=f"{state}; not every relation was scanned yet.")
    if seen.orphan_age_seconds is not None:
        age = span(seen.orphan_age_seconds)
        state += f"; no orphan that a cascade would take is older than {age}"
    return Verdict(level="ok", sentence=f"{state}.")
