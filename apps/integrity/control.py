"""Whether work on a child database may go on, by what happens and by what an operator says.

The only writer of `ChildDatabase`, `Heartbeat` and `Audit`. What an operator does is audited in the
same transaction.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models.functions import Now

from . import conf, log
from .models import Audit, ChildDatabase, Heartbeat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .exceptions import DatabaseUnreachable


def admits(database: str, *, using: str) -> bool:
    """Whether work on `database` may start: not paused, and reachable or due for another try.

    While it cannot be reached, one caller per interval gets to probe.
    """
    rows = ChildDatabase.objects.using(using).filter(alias=database)
    known = rows.first()
    if known is None or (known.paused_at is None and known.unreachable_since is None):
        return True
    if known.paused_at is not None:
        return False
    again = Now() + dt.timedelta(seconds=conf.current().probe_seconds)
    return bool(rows.filter(probe_at__lte=Now()).update(probe_at=again))


def unreachable(error: DatabaseUnreachable, *, using: str) -> None:
    """Note that a child database cannot be reached, and why; others are not concerned."""
    again = Now() + dt.timedelta(seconds=conf.current().probe_seconds)
    rows = ChildDatabase.objects.using(using)
    rows.get_or_create(alias=error.database)
    rows.filter(alias=error.database).update(reason=error.reason, probe_at=again)
    rows.filter(alias=error.database, unreachable_since=None).update(unreachable_since=Now())


def reachable(database: str, *, using: str) -> None:
    """Note that a child database answers again."""
    ChildDatabase.objects.using(using).filter(
        alias=database, unreachable_since__isnull=False
    ).update(unreachable_since=None, probe_at=None, reason="")


def is_paused(database: str, *, using: str) -> bool:
    """Whether an operator has stopped work on that child database."""
    return (
        ChildDatabase.objects.using(using).filter(alias=database, paused_at__isnull=False).exists()
    )


def pause(database: str, *, actor: str, reason: str, using: str) -> bool:
    """Stop work on a child database within one turn, audited; False when it was paused before."""
    with transaction.atomic(using=using):
        rows = ChildDatabase.objects.using(using)
        rows.get_or_create(alias=database)
        changed = rows.filter(alias=database, paused_at=None).update(
            paused_at=Now(), paused_reason=reason
        )
        _audit("pause", database, actor=actor, reason=reason, using=using)
    return bool(changed)


def resume(database: str, *, actor: str, reason: str, using: str) -> bool:
    """Let work on a child database go on, audited; False when it was not paused."""
    with transaction.atomic(using=using):
        changed = (
            ChildDatabase.objects.using(using)
            .filter(alias=database, paused_at__isnull=False)
            .update(paused_at=None, paused_reason="")
        )
        _audit("resume", database, actor=actor, reason=reason, using=using)
    return bool(changed)


def retry(deletions: Sequence[int] | None, *, actor: str, using: str) -> int:
    """Put blocked cascades (of those deletions, or all) back to work; gives their number."""
    with transaction.atomic(using=using):
        changed = log.retry(deletions, using=using)
        target = "all" if deletions is None else ", ".join(map(str, deletions))
        _audit("retry", target, actor=actor, reason=f"{changed} cascades", using=using)
    return changed


def beat(name: str, *, using: str) -> None:
    """Note that the process `name` is alive and tends this log."""
    rows = Heartbeat.objects.using(using)
    if not rows.filter(name=name).update(seen_at=Now()):
        rows.bulk_create([Heartbeat(name=name)], ignore_conflicts=True)


def _audit(verb: str, target: str, *, actor: str, reason: str, using: str) -> None:
    Audit.objects.using(using).create(actor=actor, verb=verb, target=target[:200], reason=reason)
