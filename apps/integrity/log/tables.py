"""The log's rows as querysets, and how they are named and locked in statements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.models import Q

from .. import backends
from ..models import Cascade, Deletion, Suspect

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from django.db.models import QuerySet


def cascades(using: str) -> QuerySet[Cascade]:
    """Return all cascades of one log."""
    return Cascade.objects.using(using)


def deletions(using: str) -> QuerySet[Deletion]:
    """Return all deletions of one log."""
    return Deletion.objects.using(using)


def suspects(using: str) -> QuerySet[Suspect]:
    """Return all suspects of one log."""
    return Suspect.objects.using(using)


def id_in(column: str, ids: Sequence[int], using: str) -> Any:
    """Return the condition that `column` holds one of `ids`, for the ORM."""
    return backends.log_backend(using).id_in(column, ids)


def recorded(using: str) -> QuerySet[Deletion]:
    """Return the deletions that wait to be dispatched, with the condition of their index."""
    return deletions(using).filter(Deletion.IS_RECORDED)


def referring(reference: str) -> Q:
    """Return the condition for deletions with that reference, with the condition of their index."""
    return Q(reference=reference, reference__gt="")


def of_deletions(ids: Collection[int], using: str) -> QuerySet[Cascade]:
    """Return the cascades of the batches that have those deletions, other parts included."""
    named = deletions(using).filter(id_in("pk", list(ids), using), batch__isnull=False)
    batches = sorted({batch for batch in named.values_list("batch", flat=True) if batch})
    return cascades(using).filter(id_in("batch", batches, using))


def locked(rows: QuerySet[Any], using: str, *, skip_locked: bool = True) -> QuerySet[Any]:
    """Return the rows, locked for this transaction once they are read.

    With `skip_locked`, those that no other transaction has locked; without, it waits for them.
    """
    features = connections[using].features
    if not features.has_select_for_update:
        return rows
    return rows.select_for_update(
        skip_locked=features.has_select_for_update_skip_locked and skip_locked,
        no_key=features.has_select_for_no_key_update,
        of=("self",) if features.has_select_for_update_of else (),
    )


def newest_ids(cascades: QuerySet[Cascade], *, most: int) -> list[int]:
    """Return ids of the deletions in the newest `most` of those cascades, the newest first."""
    rows = cascades.order_by("-batch").values_list("deletions", flat=True)[:most]
    return sorted({pk for ids in rows for pk in ids}, reverse=True)
