"""What the person on call does about each kind of fault.

The admin's pages and `docs/on-call/` are made from these guides. They hold no figures.
"""

from __future__ import annotations

from ..fault import KINDS
from . import databases, processes, rows
from .guide import CODE, MARKUP, OTHER, Guide, Look

__all__ = ("CODE", "GUIDES", "MARKUP", "OTHER", "Guide", "Look")

_GUIDES = (*databases.GUIDES, *processes.GUIDES, *rows.GUIDES)
#: Kind of a fault → its guide, the worst kind first.
GUIDES = {guide.kind: guide for guide in sorted(_GUIDES, key=lambda each: KINDS.index(each.kind))}
