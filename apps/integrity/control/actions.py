"""Actions of operators: pause, resume, retry, acknowledge.

Each writes its audit row with it. What changed nothing is not audited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import backends, relations
from ..backends.connections import reach
from ..backends.transactions import atomic, retried
from ..exceptions import IdentityMismatch, RestoredDatabase
from ..exceptions.loggers import logger_of
from ..log import kept as log_kept
from ..log import retry as log_retry
from ..models import Audit, ChildDatabase
from ..models.moments import ServerNow
from . import identity, restores

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..log.renaming import Renaming


logger = logger_of("integrity.control")


def paused_reason(database: str, *, using: str) -> str:
    """Return why that child database is paused, or ""."""
    row = ChildDatabase.objects.using(using).filter(alias=database).first()
    return reason_of_pause(row) if row else ""


def reason_of_pause(row: ChildDatabase) -> str:
    """Return why the database is paused, as a sentence without its subject, or "". Pure."""
    if row.paused_at is None:
        return ""
    return f"paused: {row.paused_reason or 'no reason given'}"


def is_refused(database: str, *, using: str) -> bool:
    """Return whether a check paused a child database, because its rows may be those of another."""
    kinds = ChildDatabase.REFUSALS
    rows = ChildDatabase.objects.using(using).filter(alias=database, paused_kind__in=kinds)
    return rows.exists()


def kind_of_pause(database: str, *, using: str) -> str:
    """Return who paused a child database, one of `ChildDatabase.Pause`; or ""."""
    rows = ChildDatabase.objects.using(using).filter(alias=database)
    return rows.values_list("paused_kind", flat=True).first() or ""


@retried
def pause(
    database: str,
    *,
    actor: str,
    reason: str,
    using: str,
    kind: ChildDatabase.Pause = ChildDatabase.Pause.OPERATOR,
) -> bool:
    """Pause work on a child database within one time slice; return False if it was paused."""
    with atomic(using):
        rows = ChildDatabase.objects.using(using)
        rows.get_or_create(alias=database)
        changed = rows.filter(alias=database, paused_at=None).update(
            paused_at=ServerNow(), paused_reason=reason, paused_kind=kind
        )
        if changed:
            audit("pause", database, actor=actor, reason=reason, using=using)
    return bool(changed)


def resume(
    database: str,
    *,
    actor: str,
    reason: str,
    using: str,
    accept_identity: bool = False,
    accept_restore: bool = False,
) -> bool:
    """Resume work on a child database; return False if that changed nothing.

    With `accept_identity`, the child database first stores the identities that its parents'
    databases have now. With `accept_restore`, it and the log no longer have to agree on what was
    done before.

    Raises:
        IdentityMismatch: it was paused because it belongs to other parents, and still does.
        RestoredDatabase: it was paused because it or its log was restored from a backup.
        DatabaseHindered: a database that is needed does not answer.
    """
    kind, accepted = kind_of_pause(database, using=using), False
    if accept_identity:
        reach(database)
        accepted = _accept(database, actor=actor, reason=reason, using=using)
    elif kind == ChildDatabase.Pause.IDENTITY_MISMATCH:
        _refuse_mismatches(database, using=using)
    if accept_restore:
        reach(database)
        if kind == ChildDatabase.Pause.RESTORED or restores.reason(database, using=using):
            accepted = True
            audit("accept restore", database, actor=actor, reason=reason, using=using)
        restores.accept(database, using=using)
    elif kind == ChildDatabase.Pause.RESTORED:
        reach(database)
        if restored := restores.reason(database, using=using):
            raise RestoredDatabase(database, restored)
    return _resume(database, actor=actor, reason=reason, using=using) or accepted


@retried
def _resume(database: str, *, actor: str, reason: str, using: str) -> bool:
    with atomic(using):
        changed = (
            ChildDatabase.objects.using(using)
            .filter(alias=database, paused_at__isnull=False)
            .update(paused_at=None, paused_reason="", paused_kind="")
        )
        if changed:
            audit("resume", database, actor=actor, reason=reason, using=using)
    return bool(changed)


def _accept(database: str, *, actor: str, reason: str, using: str) -> bool:
    """Store the identities of the parents' databases that answer; audit each one first.

    Return whether one of them was another before.
    """
    accepted = False
    for home in identity.answering_homes(database, using):
        if mismatch := identity.register(database, using=home):
            change = f"{home!r} was {mismatch.known} and is {mismatch.current}"
            change += f": {reason}" if reason else ""
            audit("accept identity", database, actor=actor, reason=change, using=using)
            identity.accept(database, using=home)
            accepted = True
    return accepted


def _refuse_mismatches(database: str, *, using: str) -> None:
    for alias in (database, *(homes := relations.catalogue().homes(database, using))):
        reach(alias)
    # Nothing is written while one of them differs: `register` would take another for known.
    for compare in (identity.mismatch, identity.register):
        compared = [compare(database, using=home) for home in homes]
        if mismatches := [mismatch for mismatch in compared if mismatch]:
            raise IdentityMismatch(database, mismatches)


@retried
def retry(
    deletions: Sequence[int] | None,
    *,
    actor: str,
    using: str,
    database: str | None = None,
    kept: bool = False,
) -> int:
    """Make blocked deletions pending again: those or all, in one child database or in each.

    Return deletions times databases.

    With `kept`, the given deletions are retried where they kept rows, too: their value may be free
    now. Pages may not do that, as it changes a receipt.
    """
    if deletions is not None:
        return len(retry_those(deletions, actor=actor, using=using, database=database, kept=kept))
    with atomic(using):
        changed = log_retry.retry_blocked(None, database=database, using=using)
        if changed:
            audit("retry", database or "all", actor=actor, reason=_number(changed), using=using)
    return changed


@retried
def retry_those(
    deletions: Sequence[int],
    *,
    actor: str,
    using: str,
    database: str | None = None,
    kept: bool = False,
) -> list[int]:
    """Retry as `retry` does; return the deletions that were blocked, once for each database."""
    with atomic(using):
        changed = log_retry.retry_those(deletions, database=database, using=using)
        changed += log_kept.reopen_kept(deletions, using=using) if kept else []
        if changed:
            named, reason = _named(changed), _number(len(changed))
            audit("retry", named, actor=actor, reason=reason, using=using)
    return changed


@retried
def acknowledge(deletions: Sequence[int] | None, *, actor: str, reason: str, using: str) -> int:
    """Acknowledge rows that deletions kept; return deletions times databases."""
    if deletions is not None:
        return len(acknowledge_those(deletions, actor=actor, reason=reason, using=using))
    with atomic(using):
        changed = log_kept.acknowledge_kept(None, using=using)
        if changed:
            audit("acknowledge", "all", actor=actor, reason=reason, using=using)
    return changed


@retried
def acknowledge_those(
    deletions: Sequence[int], *, actor: str, reason: str, using: str
) -> list[int]:
    """Acknowledge as `acknowledge` does; return the deletions that had kept rows."""
    with atomic(using):
        changed = log_kept.acknowledge_those(deletions, using=using)
        if changed:
            audit("acknowledge", _named(changed), actor=actor, reason=reason, using=using)
    return changed


def _number(changed: int) -> str:
    return f"{changed} deletion{'' if changed == 1 else 's'}"


def _named(deletions: Iterable[int]) -> str:
    return ", ".join(map(str, sorted({*deletions})))


def audit(verb: str, target: str, *, actor: str, reason: str, using: str) -> None:
    """Write what an operator did, to which target, and why."""
    values = {"actor": actor, "verb": verb, "target": target, "reason": reason}
    # Raw SQL bypasses the fields, which sanitize the text.
    fields: dict[str, Any] = {name: Audit._meta.get_field(name) for name in values}
    entry = {name: fields[name].get_prep_value(text) for name, text in values.items()}
    backends.log_backend(using).insert_audit(entry, using=using)


@retried
def rename(change: Renaming, *, using: str, apply: bool) -> int:
    """Move the state of a child database, such as a pause, to its new alias."""
    rows = ChildDatabase.objects.using(using)
    if change.alias(change.old) == change.old or not (old := rows.filter(alias=change.old).first()):
        return 0
    if apply:
        with atomic(using):
            rows.get_or_create(alias=change.new)
            if old.paused_at is not None:
                new = rows.filter(alias=change.new, paused_at=None)
                new.update(
                    paused_at=old.paused_at,
                    paused_reason=old.paused_reason,
                    paused_kind=old.paused_kind,
                )
            rows.filter(alias=change.old).delete()
    return 1


def forget(alias: str, *, using: str, apply: bool) -> int:
    """Delete the state of an unknown database if `apply`; return the number of rows."""
    rows = ChildDatabase.objects.using(using).filter(alias=alias)
    return rows.delete()[0] if apply else rows.count()
