"""Migration operations for projects: they rename models, relations and fields in the log."""

from __future__ import annotations

from .migrations import DropOnlyWhenDone, RenameTracked, RenameTrackedField

__all__ = ["DropOnlyWhenDone", "RenameTracked", "RenameTrackedField"]
