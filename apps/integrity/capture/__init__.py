"""A delete → the deletion log, in the delete's own transaction."""

from __future__ import annotations

from .explicit import record
from .open_values import pending
from .receivers import connect, disconnect
from .recording import is_home
from .stating import because

__all__ = ["because", "connect", "disconnect", "is_home", "pending", "record"]
