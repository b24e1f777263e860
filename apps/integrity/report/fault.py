"""One thing that is wrong, and the figures that faults are made of."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from .heartbeats import SILENT_SECONDS
from .rows import UNCLAIMED_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .heartbeats import HeartbeatRow
    from .names import Unknown
    from .rows import DatabaseRow

TROUBLE, ATTENTION = "trouble", "attention"
#: Kind → its level. The kinds come in the order of their weight.
LEVELS = {
    "log_unreachable": TROUBLE,
    "broker": TROUBLE,
    "unreachable": TROUBLE,
    "workers": TROUBLE,
    "beat": TROUBLE,
    "identity_mismatch": TROUBLE,
    "restored": TROUBLE,
    "unknown": TROUBLE,
    "late": TROUBLE,
    "blocked": TROUBLE,
    "brake": TROUBLE,
    "at_risk": ATTENTION,
    "failing": ATTENTION,
    "unproven": ATTENTION,
    "paused": ATTENTION,
    "kept": ATTENTION,
    "orphans": ATTENTION,
    "behind": ATTENTION,
}
KINDS = tuple(LEVELS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong.

    `subject` is a database, a relation or a name; "" is the whole installation. `number` is how
    many deletions, or missing parents, it concerns; None where they are not counted. `cause` says
    why, and `remedy` names the command or the button. Unknown times are None.
    """

    kind: str
    subject: str = ""
    since_seconds: float | None = None
    number: int | None = None
    cause: str = ""
    next_try_seconds: float | None = None
    remedy: str = ""

    @property
    def level(self) -> str:
        """Return "trouble" or "attention"."""
        return LEVELS[self.kind]

    def document(self) -> dict[str, object]:
        """Return it as `status --json` prints it."""
        return {**dataclasses.asdict(self), "level": self.level}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Return the fault of such a document."""
        return cls(**{name: document[name] for name in document if name != "level"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What faults are made of.

    `celery` is whether Celery brings the messages. `broker` is why its broker does not answer, or
    "", and `broker_seconds` for how long.
    """

    databases: Sequence[DatabaseRow]
    processes: Sequence[HeartbeatRow] = ()
    unreachable_logs: Sequence[str] = ()
    unknown: Sequence[Unknown] = ()
    brakes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    #: Relation → since when the figures that the brake judges are known, in seconds.
    scan_seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    missing_parents: int = 0
    celery: bool = False
    broker: str = ""
    broker_seconds: float | None = None
    #: Due work waits for a worker after so many seconds, and a heartbeat is too old.
    due_after: float = UNCLAIMED_SECONDS
    silent_after: float = SILENT_SECONDS
