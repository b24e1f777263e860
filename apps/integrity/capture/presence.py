"""Whether a trigger records the deletes of this process, asked once a minute."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..backends.connections import warn_once
from . import triggers

if TYPE_CHECKING:
    from ..relations import Model

#: How long a process relies on a trigger that it has found.
SEEN_SECONDS = 60.0
#: Database → when its triggers were looked for, and the parents that they record.
_seen: dict[str, tuple[float, frozenset[str]]] = {}


def is_triggered(parent: Model, using: str) -> bool:
    """Return whether the parent's trigger is there and records.

    That it is there holds for `SEEN_SECONDS`; that it is missing, and logged, until the next call.
    """
    label = parent._meta.label
    seen_at, found = _seen.get(using, (-SEEN_SECONDS, frozenset[str]()))
    if time.monotonic() - seen_at >= SEEN_SECONDS or label not in found:
        found = triggers.recorded(using)
        _seen[using] = time.monotonic(), found
    if label not in found:
        warn_once(
            f"{label} in {using} has no trigger that records, so signals record its deletions."
            " Run `manage.py integrity install-triggers`"
        )
    return label in found
