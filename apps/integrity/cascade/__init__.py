"""The deletion log → rows deleted or changed in child databases, and verified."""

from __future__ import annotations

from .worker import Drained, drain

__all__ = ["Drained", "drain"]
