"""The tables of the app. They live in the parents' databases; `Identity` and `Tally` in all.

Each has one writer: `log` writes the deletion log and the tallies, `scan` the scans, `control` and
`report` the other tables.
"""

from __future__ import annotations

from .cascades import Cascade
from .control import Alarm, Audit, ChildDatabase, Heartbeat, Identity
from .deletions import (
    KEY_CHARS,
    STATED_CHARS,
    STATED_TEXTS,
    Dashboard,
    Deletion,
    Stated,
    Suspect,
    read_outcomes,
)
from .evidence import FailedAttempt, Scope
from .outcome import CascadeState, DeletionState, InDatabase
from .scans import Scan
from .tallies import Tally

__all__ = [
    "KEY_CHARS",
    "STATED_CHARS",
    "STATED_TEXTS",
    "Alarm",
    "Audit",
    "Cascade",
    "CascadeState",
    "ChildDatabase",
    "Dashboard",
    "Deletion",
    "DeletionState",
    "FailedAttempt",
    "Heartbeat",
    "Identity",
    "InDatabase",
    "Scan",
    "Scope",
    "Stated",
    "Suspect",
    "Tally",
    "read_outcomes",
]
