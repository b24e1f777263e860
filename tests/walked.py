"""Statements of a walk along an index: one on PostgreSQL, and one for each value elsewhere."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: What the next statement of a walk has before its order.
FURTHER = re.compile(r" AND \(`\w+` > .* ORDER BY")


def once(sent: Iterable[str]) -> set[str]:
    """Return the statements, with one for each walk."""
    return {FURTHER.sub(" ORDER BY", sql) for sql in sent}
