"""The tables of the app. They live in the parents' databases; some in those of children, too.

These are `Identity`, `Tally` and `Finding`. Each table has one writer: `log` writes the deletion
log, the tallies and the findings, `scan` the scans, `control` and `report` the other tables.
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
from .findings import Finding
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
    "Finding",
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
