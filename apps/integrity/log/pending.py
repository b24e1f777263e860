"""Whether rows may still refer to a deleted value: one indexed query."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connections
from django.db.models import Q

from ..models import Deletion, of_keys
from . import tables

if TYPE_CHECKING:
    from collections.abc import Sequence


def is_open(parent: str, texts: Sequence[str], *, field: str | None, using: str) -> bool:
    """Return whether an open deletion or suspect has that key, or that value of `field`.

    `texts` are the forms in which the log may have it.
    """
    wanted = of_keys(texts) if field is None else Q()
    for text in texts if field else ():
        wanted |= _holds(str(field), text, using)
    rows = tables.deletions(using).filter(wanted, parent=parent, state__in=Deletion.OPEN)
    return rows.exists()


def _holds(field: str, text: str, using: str) -> Q:
    """Return the condition on `targets`, in the form that the index of the backend serves."""
    if connections[using].features.supports_json_field_contains:
        return Q(targets__contains={field: text})
    return Q(**{f"targets__{field}": text})
