"""The deletion log → rows deleted or changed in child databases, and verified."""

from __future__ import annotations

from .drained import Drained
from .worker import drain

__all__ = ["Drained", "drain"]
