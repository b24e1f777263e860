"""What operators do: pause, resume, retry, acknowledge. Each is audited in its own transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models.functions import Now

from .. import backends, log
from ..backends.connections import reach
from ..isolation.loggers import logger_of
from ..models import Audit, ChildDatabase
from . import identity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..log.renaming import Renaming


logger = logger_of("integrity.control")


def paused_reason(database: str, *, using: str) -> str:
    """Why nothing is done in that child database, or "" where it is not paused."""
    row = ChildDatabase.objects.using(using).filter(alias=database, paused_at__isnull=False).first()
    return f"paused: {row.paused_reason or 'no reason given'}" if row else ""


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
        audit("pause", database, actor=actor, reason=reason, using=using)
    return bool(changed)


def resume(database: str, *, actor: str, reason: str, using: str) -> bool:
    """Let work on a child database go on, audited; False when it was not paused.

    One that was paused because it belongs to other parents takes these for its own from now on.
    """
    paused = ChildDatabase.objects.using(using).filter(alias=database)
    if paused.filter(paused_reason__startswith=identity.STRANGER).exists():
        reach(database)
        for home in identity.answering_homes(database, using):
            identity.accept(database, using=home)
    with transaction.atomic(using=using):
        changed = (
            ChildDatabase.objects.using(using)
            .filter(alias=database, paused_at__isnull=False)
            .update(paused_at=None, paused_reason="")
        )
        audit("resume", database, actor=actor, reason=reason, using=using)
    return bool(changed)


def retry(deletions: Sequence[int] | None, *, actor: str, using: str, kept: bool = False) -> int:
    """Put blocked cascades (of those deletions, or all) back to work; gives their number.

    With `kept`, deletions that are named and were kept are looked at again, too: their value may be
    free. Pages may not do that: it rewrites what a receipt says.
    """
    with transaction.atomic(using=using):
        changed = log.retry(deletions, using=using)
        changed += log.look_again(deletions, using=using) if deletions and kept else 0
        target = "all" if deletions is None else ", ".join(map(str, deletions))
        audit("retry", target, actor=actor, reason=f"{changed} cascades", using=using)
    return changed


def acknowledge(deletions: Sequence[int] | None, *, actor: str, reason: str, using: str) -> int:
    """Note that an operator knows of rows that were kept; return the number of cascades."""
    with transaction.atomic(using=using):
        changed = log.acknowledge(deletions, using=using)
        target = "all" if deletions is None else ", ".join(map(str, deletions))
        audit("acknowledge", target, actor=actor, reason=reason, using=using)
    return changed


def audit(verb: str, target: str, *, actor: str, reason: str, using: str) -> None:
    """Note what an operator did, to what, and why."""
    said = {"actor": actor, "verb": verb, "target": target, "reason": reason}
    # Some statements do not ask the fields, which make plain text of it.
    fields: dict[str, Any] = {name: Audit._meta.get_field(name) for name in said}
    entry = {name: fields[name].get_prep_value(text) for name, text in said.items()}
    backends.on(using).insert_audit(entry, using=using)


def rename(change: Renaming, *, using: str, apply: bool) -> int:
    """Let what is known of a child database go with its new alias: a pause, above all."""
    rows = ChildDatabase.objects.using(using)
    if change.alias(change.old) == change.old or not (old := rows.filter(alias=change.old).first()):
        return 0
    if apply:
        with transaction.atomic(using=using):
            rows.get_or_create(alias=change.new)
            if old.paused_at is not None:
                new = rows.filter(alias=change.new, paused_at=None)
                new.update(paused_at=old.paused_at, paused_reason=old.paused_reason)
            rows.filter(alias=change.old).delete()
    return 1


def forget(alias: str, *, using: str, apply: bool) -> int:
    """Forget a database that nobody knows any more."""
    rows = ChildDatabase.objects.using(using).filter(alias=alias)
    return rows.delete()[0] if apply else rows.count()
