"""What a run of verification found in one place: a child database, or an erasure step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Verified:
    """What a run found in one child database."""

    database: str
    verified: int = 0
    reopened: int = 0
    kept: int = 0
    more: bool = False
    #: What done cascades wait for, beyond their grace period.
    held: str = ""
    unreachable: str = ""
    #: Until when no work may begin (the setting `quiet_hours`), or "".
    quiet: str = ""
