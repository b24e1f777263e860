"""What a run of work did in one place: a child database, or an erasure step."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Drained:
    """What a run did in one child database."""

    database: str
    finished: int = 0
    kept: int = 0
    failed: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    more: bool = False
    unreachable: str = ""
    #: Until when no work may begin (the setting `quiet_hours`), or "".
    quiet: str = ""
