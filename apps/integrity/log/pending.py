"""Whether rows may still refer to a deleted value: indexed queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connections
from django.db.models import Q

from .. import relations
from . import tables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def is_open(parent: str, texts: Sequence[str], *, field: str | None, using: str) -> bool:
    """Return whether an open deletion or suspect has that key, or that value of `field`.

    `texts` are the forms in which the log may have it.
    """
    # Suspects first: one that is confirmed meanwhile is found as a deletion.
    labels = [relation.label for relation in relations.catalogue().children_of(parent)]
    suspects = tables.suspects(using).filter(
        relation__in=labels, field=field or "", value__in=texts
    )
    if suspects.exists():
        return True
    wanted = Q(key__in=texts) if field is None else Q()
    for text in texts if field else ():
        wanted |= _holds(str(field), text, using)
    rows = tables.deletions(using).filter(wanted, parent=parent, cancelled_at__isnull=True)
    batches = dict(rows.values_list("pk", "batch"))
    return None in batches.values() or _any_open(batches, using)


def _any_open(batches: Mapping[int, int | None], using: str) -> bool:
    """Return whether one of those deletions, with their batches, is in a cascade that goes on."""
    if not batches:
        return False
    named = tables.id_in("batch", sorted({*filter(None, batches.values())}), using)
    rows = tables.cascades(using).filter(named, ended_at__isnull=True)
    return any(
        not batches.keys().isdisjoint(deletions)
        for deletions in rows.values_list("deletions", flat=True)
    )


def _holds(field: str, text: str, using: str) -> Q:
    """Return the condition on `targets`, in the form that the index of the backend serves."""
    if connections[using].features.supports_json_field_contains:
        return Q(targets__contains={field: text})
    return Q(**{f"targets__{field}": text})
