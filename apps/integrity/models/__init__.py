"""The tables of the app. They live in the databases of the parents that they are about.

Each has one writer: the deletion log `log`, scans `scan`, and the rest `control` and `report`.
"""

from __future__ import annotations

from .control import Alarm, Audit, ChildDatabase, Heartbeat, Identity
from .deletions import HEAD_CHARS, Cascade, Dashboard, Deletion, of_keys
from .scans import Scan

__all__ = [
    "HEAD_CHARS",
    "Alarm",
    "Audit",
    "Cascade",
    "ChildDatabase",
    "Dashboard",
    "Deletion",
    "Heartbeat",
    "Identity",
    "Scan",
    "of_keys",
]
