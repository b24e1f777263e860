"""A delete → the deletion log, in the delete's own transaction."""

from __future__ import annotations

from .open_values import pending
from .receivers import connect, disconnect, is_home, record

__all__ = ["connect", "disconnect", "is_home", "pending", "record"]
