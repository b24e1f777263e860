"""Operations for a project's migrations: the deletion log follows what they rename."""

from __future__ import annotations

from .migrations import DropOnlyWhenDone, RenameTracked, RenameTrackedField

__all__ = ["DropOnlyWhenDone", "RenameTracked", "RenameTrackedField"]
