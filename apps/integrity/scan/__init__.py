"""Rows of child databases → suspects → deletions of parents that are missing."""

from __future__ import annotations

from .run import due, due_databases, scan
from .values import Mode, Scanned

__all__ = ["Mode", "Scanned", "due", "due_databases", "scan"]
