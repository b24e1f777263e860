"""What the person on call does about each kind of fault.

The admin's pages and `docs/on-call/` are made from these guides. They hold no figures.
"""

from __future__ import annotations

from . import databases, processes, rows
from .guide import CODE, Guide, Look

__all__ = ("CODE", "GUIDES", "Guide", "Look")

#: Kind of a fault → its guide.
GUIDES = {guide.kind: guide for guide in (*databases.GUIDES, *processes.GUIDES, *rows.GUIDES)}
