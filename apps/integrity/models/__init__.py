"""The tables of the app. They live in the parents' databases.

Each has one writer: `log` writes the deletion log, `scan` the scans, `control` and `report` the
other tables.
"""

from __future__ import annotations

from .control import Alarm, Audit, ChildDatabase, Heartbeat, Identity
from .deletions import KEY_CHARS, Cascade, Dashboard, Deletion, Suspect
from .scans import Scan

__all__ = [
    "KEY_CHARS",
    "Alarm",
    "Audit",
    "Cascade",
    "ChildDatabase",
    "Dashboard",
    "Deletion",
    "Heartbeat",
    "Identity",
    "Scan",
    "Suspect",
]
