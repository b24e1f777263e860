"""The barriers of done cascades: reads those that are due, and replaces them."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from django.db.models.functions import Now

from .. import conf
from ..backends.barriers import Barrier
from ..models import Cascade
from . import tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet


def due_barriers(database: str, *, using: str, limit: int) -> dict[int, Barrier | None]:
    """Return the barriers of done cascades whose grace period is over, the longest due first."""
    rows = _due(database, using).order_by("due_at", "pk")
    barriers = rows.values_list("pk", "barrier", "barrier_server")[:limit]
    return {
        pk: None if number is None else Barrier(number=number, server=server)
        for pk, number, server in barriers
    }


def renew_barriers(database: str, cascades: Sequence[int], barrier: Barrier, *, using: str) -> int:
    """Replace the barrier of done cascades and restart their grace period; return their number."""
    mine = _due(database, using).filter(tables.id_in("pk", cascades, using))
    return mine.update(
        barrier=barrier.number,
        barrier_server=barrier.server,
        due_at=Now() + dt.timedelta(seconds=conf.current().grace_seconds),
        claim=None,
    )


def _due(database: str, using: str) -> QuerySet[Cascade]:
    return tables.cascades(using).filter(
        database=database, state=Cascade.State.DONE, due_at__lte=Now()
    )
