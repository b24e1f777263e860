"""The history of failed attempts, for the pages: when each failed, and why.

Written in the transaction that counts the attempt, which goes on if it cannot be. What waits
without counting an attempt is no failure, and an attempt whose worker was lost leaves no row.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING, Any

from django.db.models import (
    BooleanField,
    Case,
    ExpressionWrapper,
    F,
    IntegerField,
    Q,
    Subquery,
    Value,
    When,
)

from .. import conf
from ..backends.transactions import retried
from ..models import FailedAttempt
from ..models.moments import ServerNow
from .tables import id_in

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from .values import Claim

#: The most rows that one count of failures writes; of more batches, the first have one.
WRITTEN = 20


def note(claim: Claim, reason: str) -> None:
    """Note that an attempt at the deletions of a claim failed, for each of their batches.

    A claim that fails in parts for one reason gets one row for each batch, which adds them up.
    However many batches there are, these are at most three statements.
    """
    counted = Counter((deletion.batch, deletion.attempts) for deletion in claim.deletions)
    failed = dict(sorted(counted.items())[:WRITTEN])
    same: dict[str, Any] = {"database": claim.database, "claim": claim.token, "reason": reason}
    batches = sorted({batch for batch, _ in failed})
    earlier = _rows(claim.using).filter(**same, batch__in=batches)
    written = earlier.values_list("batch", "attempt", "pk")
    known = {(batch, attempt): pk for batch, attempt, pk in written if (batch, attempt) in failed}
    if known:
        more = [When(pk=pk, then=Value(failed[place])) for place, pk in known.items()]
        rows = _rows(claim.using).filter(pk__in=known.values())
        number = Case(*more, output_field=IntegerField())
        rows.update(deletions=F("deletions") + number, at=ServerNow())
    new = [
        FailedAttempt(**same, batch=batch, attempt=attempt, deletions=number)
        for (batch, attempt), number in failed.items()
        if (batch, attempt) not in known
    ]
    if new:
        _rows(claim.using).bulk_create(new)


def of_batch(batch: int | None, *, most: int, using: str) -> list[FailedAttempt]:
    """Return the latest failed attempts at the cascades of a batch, the latest first."""
    if batch is None:
        return []
    return list(_rows(using).filter(batch=batch).order_by("-at", "-pk")[:most])


@retried
def purge(*, using: str, days: float | None = None) -> int:
    """Remove a batch of rows past the retention; return their number.

    By the key, which has the index: the lowest are the oldest. A batch is as large as one of
    deletions, for each may have failed: else a day on which all do is purged for a month.
    """
    is_old = ExpressionWrapper(_is_old(days), BooleanField())
    oldest = _rows(using).order_by("pk").values_list("pk", is_old)[: conf.current().purge_keys]
    pks = [pk for pk, old in oldest if old]
    return _rows(using).filter(id_in("pk", pks, using))._raw_delete(using) if pks else 0


def past_retention(*, using: str) -> QuerySet[FailedAttempt]:
    """Return the oldest row, if it is past the retention."""
    rows = _rows(using).order_by("pk")
    return rows.filter(_is_old(None), pk=Subquery(rows.values("pk")[:1]))


def _rows(using: str) -> QuerySet[FailedAttempt]:
    return FailedAttempt.objects.using(using)


def _is_old(days: float | None) -> Q:
    kept = conf.current().retention_days if days is None else days
    return Q(at__lte=ServerNow() - dt.timedelta(days=kept))
