"""Removes rows past their retention: heartbeats of ended processes, and old rows of the audit.

Each call removes one bounded batch. For deletions see `log.deletions.purge`, for failed
attempts `log.failures.purge`, for tallies `log.tallies.purge`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db.models import BooleanField, ExpressionWrapper, Q, Subquery

from .. import conf, relations
from ..backends.connections import reach
from ..backends.first_rows import have_rows
from ..backends.rights import may_delete
from ..backends.transactions import retried
from ..exceptions import DatabaseHindered, DatabaseUnreachable
from ..exceptions.failures import isolated
from ..log import deletions, failures, findings, tallies
from ..models import Audit, Heartbeat
from ..models.moments import ServerNow
from . import heartbeats, identity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.db.models import QuerySet

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
        "failures": partial(failures.purge, days=days),
        "heartbeats": purge_heartbeats,
        "audit": purge_audit,
        "tallies": purge_tallies,
    }
    return {
        name: sum(iter(partial(purge_batch, using=using), 0))
        for name, purge_batch in purges.items()
    }


def purge_due(*, using: str) -> None:
    """Remove one batch from each table of the log that has rows past their retention.

    Where none has any, that costs one statement, and one for the rights of the role. If the purge
    of one table fails, the error is logged, and the next one follows.
    """
    asked: list[tuple[str, Callable[..., int], QuerySet[Any]]] = [
        ("deletions", deletions.purge, rows) for rows in deletions.past_retention(using=using)
    ]
    asked.append(("failed attempts", failures.purge, failures.past_retention(using=using)))
    if (days := conf.current().heartbeat_retention_days) is not None:
        old = _workers(using).filter(_seen_before(days)).order_by("seen_at")
        asked.append(("heartbeats", purge_heartbeats, old))
    if (days := _audit_days(using)) is not None:
        asked.append(("the audit", purge_audit, _oldest_audit(days, using)))
    found = have_rows(*(rows for _, _, rows in asked), using=using)
    due = {name: purge for (name, purge, _), has in zip(asked, found, strict=True) if has}
    for name, purge_batch in due.items():
        with isolated(f"the purge of {name} in {using}", passing=(DatabaseHindered,)):
            purge_batch(using=using)


def has_old_audit(days: float, *, using: str) -> bool:
    """Return whether the oldest row of the audit is more than a day past that age."""
    return _oldest_audit(days + 1, using).exists()


def _oldest_audit(days: float, using: str) -> QuerySet[Audit]:
    """Return the oldest row of the audit, if it is past that age."""
    rows = Audit.objects.using(using).order_by("pk")
    old = ServerNow() - dt.timedelta(days=days)
    return rows.filter(pk=Subquery(rows.values("pk")[:1]), at__lte=old)


def purge_tallies(*, using: str) -> int:
    """Remove a batch of tallies in each child database that answers; return their number."""
    removed = 0
    for database in relations.catalogue().child_databases:
        with contextlib.suppress(DatabaseUnreachable):
            reach(database)
            if tallies.is_kept_in(database):
                log = identity.of_log(using)
                removed += tallies.purge(database, log=log, using=using)
                findings.purge(database, log=log, using=using)
    return removed


@retried
def purge_heartbeats(*, using: str) -> int:
    """Remove a batch of heartbeats of ended processes; return their number."""
    days = conf.current().heartbeat_retention_days
    if days is None:
        return 0
    workers, is_old = _workers(using), _seen_before(days)
    oldest = workers.order_by("seen_at").annotate(old=ExpressionWrapper(is_old, BooleanField()))
    seen = list(oldest.values_list("name", "old")[: PURGED + 1])
    names = [name for name, old in seen[:-1] if old]  # the last one may be the newest, which stays
    # The condition on `seen_at` skips those that were seen again meanwhile.
    return workers.filter(is_old, name__in=names)._raw_delete(using) if names else 0


def _workers(using: str) -> QuerySet[Heartbeat]:
    return Heartbeat.objects.using(using).exclude(name=heartbeats.BEAT)


def _seen_before(days: float) -> Q:
    return Q(seen_at__lte=ServerNow() - dt.timedelta(days=days))


@retried
def purge_audit(*, using: str) -> int:
    """Remove a batch of old audit rows, where this role may; return their number.

    Workers need not have the right: a role that may delete from the audit could hide its actions.
    """
    if (days := _audit_days(using)) is None:
        return 0
    rows = Audit.objects.using(using)
    is_old = ExpressionWrapper(Q(at__lte=ServerNow() - dt.timedelta(days=days)), BooleanField())
    # By the key, which has the index: the lowest are the oldest.
    oldest = rows.order_by("pk").values_list("pk", is_old)[:PURGED]
    pks = [pk for pk, old in oldest if old]
    return rows.filter(pk__in=pks)._raw_delete(using) if pks else 0


def _audit_days(using: str) -> float | None:
    """Return how long the audit is kept, or None where this role may not delete from it."""
    days = conf.current().audit_retention_days
    return days if days is not None and may_delete(Audit._meta.db_table, using) else None
