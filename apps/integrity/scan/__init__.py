"""Rows of child databases → suspects → deletions of parents that are missing."""

from __future__ import annotations

from .run import due, scan
from .values import Mode, Scanned

__all__ = ["Mode", "Scanned", "due", "scan"]
