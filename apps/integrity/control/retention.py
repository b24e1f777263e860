"""Removes rows past their retention: heartbeats of ended processes, and old rows of the audit.

Each call removes one bounded batch. For deletions see `log.deletions.purge`, for tallies
`log.tallies.purge`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from functools import partial
from typing import TYPE_CHECKING

from django.db.models import BooleanField, ExpressionWrapper, Q
from django.db.models.functions import Now

from .. import conf, relations
from ..backends.connections import reach
from ..backends.rights import may_delete
from ..exceptions import DatabaseUnreachable
from ..log import deletions, tallies
from ..models import Audit, Heartbeat
from . import heartbeats, identity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Rows that one call removes.
PURGED = 500


def purge(
    using: str,
    *,
    days: float | None = None,
    export: Callable[[Sequence[int]], object] | None = None,
) -> dict[str, int]:
    """Remove all rows past their retention in batches; return the number per table.

    `days` and `export` are for deletions, as in `log.deletions.purge`.
    """
    purges: dict[str, Callable[..., int]] = {
        "deletions": partial(deletions.purge, days=days, export=export),
        "heartbeats": purge_heartbeats,
        "audit": purge_audit,
        "tallies": purge_tallies,
    }
    return {
        name: sum(iter(partial(purge_batch, using=using), 0))
        for name, purge_batch in purges.items()
    }


def has_old_audit(days: float, *, using: str) -> bool:
    """Return whether the oldest row of the audit is more than a day past that age."""
    oldest = Audit.objects.using(using).order_by("pk").values("pk")[:1]
    before = Now() - dt.timedelta(days=days + 1)
    return Audit.objects.using(using).filter(pk__in=oldest, at__lte=before).exists()


def purge_tallies(*, using: str) -> int:
    """Remove a batch of tallies in each child database that answers; return their number."""
    removed = 0
    for database in relations.catalogue().child_databases:
        with contextlib.suppress(DatabaseUnreachable):
            reach(database)
            if tallies.is_kept_in(database):
                removed += tallies.purge(database, log=identity.of_log(using), using=using)
    return removed


def purge_heartbeats(*, using: str) -> int:
    """Remove a batch of heartbeats of ended processes; return their number."""
    days = conf.current().heartbeat_retention_days
    if days is None:
        return 0
    workers = Heartbeat.objects.using(using).exclude(name=heartbeats.BEAT)
    is_old = Q(seen_at__lte=Now() - dt.timedelta(days=days))
    oldest = workers.order_by("seen_at").annotate(old=ExpressionWrapper(is_old, BooleanField()))
    seen = list(oldest.values_list("name", "old")[: PURGED + 1])
    names = [name for name, old in seen[:-1] if old]  # the last one may be the newest, which stays
    # The condition on `seen_at` skips those that were seen again meanwhile.
    return workers.filter(is_old, name__in=names)._raw_delete(using) if names else 0


def purge_audit(*, using: str) -> int:
    """Remove a batch of old audit rows, where this role may; return their number.

    Workers need not have the right: a role that may delete from the audit could hide its actions.
    """
    days = conf.current().audit_retention_days
    if days is None or not may_delete(Audit._meta.db_table, using):
        return 0
    rows = Audit.objects.using(using)
    is_old = ExpressionWrapper(Q(at__lte=Now() - dt.timedelta(days=days)), BooleanField())
    # By the key, which has the index: the lowest are the oldest.
    oldest = rows.order_by("pk").values_list("pk", is_old)[:PURGED]
    pks = [pk for pk, old in oldest if old]
    return rows.filter(pk__in=pks)._raw_delete(using) if pks else 0
