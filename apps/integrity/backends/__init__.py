"""What differs between database engines. `on(alias)` returns the statements of one."""

from __future__ import annotations

from .base import need, on

__all__ = ["need", "on"]
