"""Rows of child databases → suspects → deletions of parents that are missing."""

from __future__ import annotations

from .run import due, scan
from .scan_pass import Mode, Scanned

__all__ = ["Mode", "Scanned", "due", "scan"]
