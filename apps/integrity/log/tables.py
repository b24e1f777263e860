"""The log's rows as querysets, and how they are named and locked in statements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.models import Q

from ..models import Cascade, Deletion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet


def cascades(using: str) -> QuerySet[Cascade]:
    """All cascades of one log."""
    return Cascade.objects.using(using)


def deletions(using: str) -> QuerySet[Deletion]:
    """All deletions of one log."""
    return Deletion.objects.using(using)


def among(name: str, ids: Sequence[int], using: str) -> Any:
    """The condition that the column `name` holds one of `ids`."""
    if connections[using].vendor == "postgresql":
        from ..backends.postgresql.log import among_array

        return among_array(name, ids)
    return Q(**{f"{name}__in": ids})


def locked(rows: QuerySet[Any], using: str, *, patient: bool = False) -> QuerySet[Any]:
    """The rows, locked for this transaction; unless `patient`, those that nobody else works on."""
    features = connections[using].features
    if not features.has_select_for_update:
        return rows
    return rows.select_for_update(
        skip_locked=features.has_select_for_update_skip_locked and not patient,
        no_key=features.has_select_for_no_key_update,
        of=("self",) if features.has_select_for_update_of else (),
    )
