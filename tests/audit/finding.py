"""What a part of the audit returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was looked at, what was found, and why the answer is not complete ("" where it is)."""

    looked_at: str
    findings: tuple[str, ...]
    incomplete: str = ""
