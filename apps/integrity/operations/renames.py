"""What was open under an old name goes on under today's: for the command, and for migrations.

Takes the old name and the new one; gives the number of rows that changed, by table. Each table is
changed by its writer. Audited; running it again finds what is left, and nothing else.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from django.db import Error, connections

from .. import relations, report
from ..control import actions, circuit_breaker, identity
from ..exceptions import InvalidName
from ..exceptions.loggers import logger_of
from ..log import deletions, renames
from ..log.fields import close_field, rename_field
from ..log.renaming import Kind, Renaming, field_of
from ..models import Audit, Deletion
from ..report import alarms
from ..scan import scan_row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

logger = logger_of("integrity.renames")

#: Rows by table.
Changed = dict[str, int]


def require(change: Renaming, *, force: bool = False) -> None:
    """Refuse a new name that the catalogue does not know, and an old one that it knows.

    Raises `InvalidName`. With `force`, the old name may be in use.
    """
    known = _known()[change.kind]
    _require_one_parent(change)
    if change.new not in known:
        listed = ", ".join(known) or "none"
        raise InvalidName(f"{change.new!r} is no {change.kind} of the catalogue; known: {listed}")
    if change.old == change.new:
        raise InvalidName(f"{change.old!r} is the old name and the new one")
    if change.old in known and not force:
        raise InvalidName(
            f"{change.old!r} is a {change.kind} of today: its work is done under this name."
            " Where all of it shall get the new name, add --force"
        )


def _require_one_parent(change: Renaming) -> None:
    (old, _), (new, _) = field_of(change.old), field_of(change.new)
    if change.kind is Kind.FIELD and old != new:
        raise InvalidName(
            f"{change.old!r} and {change.new!r} are fields of two models; where the model has"
            " another name, too, rename that first"
        )


def rename(change: Renaming, *, actor: str, apply: bool) -> Changed:
    """Rename in every log that answers, and in the children's memory of their parents."""
    total: Changed = {}
    for using in circuit_breaker.answering_logs():
        _add(total, rename_in(change, using=using, actor=actor, apply=apply))
    _add(total, {"identity": _identities(change, actor=actor, apply=apply)})
    return {table: number for table, number in total.items() if number}


def _identities(change: Renaming, *, actor: str, apply: bool) -> int:
    number = identity.rename(change, apply=False)
    if not (apply and number):
        return number
    reason = f"{number:,} databases that know their parents' by it"
    actions.audit("rename", str(change), actor=actor, reason=reason, using=change.new)
    return identity.rename(change, apply=True)


def rename_in(
    change: Renaming, *, using: str, actor: str, apply: bool, history: bool = True
) -> Changed:
    """Rename in one log; what is over only with `history`."""
    writers: dict[str, Callable[..., int]] = {
        "log": renames.rename,
        "fields": rename_field,
        **({"history": _rename_history} if history else {}),
        "scans": scan_row.rename,
        "databases": actions.rename,
        "alarms": alarms.rename,
    }
    found = {name: act(change, using=using, apply=False) for name, act in writers.items()}
    if not apply or not any(found.values()):
        return found
    rows = f"{sum(found.values()):,} rows"
    actions.audit("rename", str(change), actor=actor, reason=rows, using=using)
    return {name: act(change, using=using, apply=True) for name, act in writers.items()}


def _rename_history(change: Renaming, *, using: str, apply: bool) -> int:
    number = renames.rename_history(change, using=using, apply=apply)
    return number + rename_field(change, using=using, apply=apply, history=True)


def close(kind: Kind, name: str, *, reason: str, actor: str, apply: bool) -> Changed:
    """Give up what is open under a name that nobody knows. Raises `InvalidName` for one of today.

    Rows that refer to those parents stay: the scan of a relation that is there finds them. A field
    has to be one of today: what is given up waits for its value, and the log does not say which.
    """
    known = _known()[kind]
    if kind is Kind.FIELD:
        if name not in known:
            listed = ", ".join(known) or "none"
            raise InvalidName(f"{name!r} is no field of the catalogue; known: {listed}")
    elif name in known:
        raise InvalidName(f"{name!r} is a {kind} of today: its work is done, and not given up")
    total: Changed = {}
    for using in circuit_breaker.answering_logs():
        _add(total, _close(kind, name, using, reason=reason, actor=actor, apply=apply))
    return {table: number for table, number in total.items() if number}


def _close(kind: Kind, name: str, using: str, *, reason: str, actor: str, apply: bool) -> Changed:
    why = f"{deletions.GIVEN_UP}: {reason}"

    def give_up(*, apply: bool) -> Changed:
        if kind is Kind.FIELD:
            return {"log": _close_field(name, why, using, apply=apply)}
        if kind is Kind.ALIAS:
            number = renames.close_database(name, why, using=using, apply=apply)
        else:
            pairs = report.under(kind, name, using=using)
            number = renames.close_names(pairs, why, using=using, apply=apply)
        return {
            "log": number,
            "scans": scan_row.forget(kind, name, using=using, apply=apply),
            "databases": actions.forget(name, using=using, apply=apply),
        }

    found = give_up(apply=False)
    if not apply or not any(found.values()):
        return found
    actions.audit("close", f"{kind} {name}", actor=actor, reason=reason, using=using)
    return give_up(apply=True)


def _close_field(name: str, why: str, using: str, *, apply: bool) -> int:
    along = report.along(*field_of(name))
    return close_field(
        name,
        [each.label for each in along],
        list(dict.fromkeys(alias for each in along for alias in each.child_databases)),
        why,
        using=using,
        apply=apply,
    )


def after_migrate(using: str, plan: Sequence[object] = (), **_: object) -> None:
    """`post_migrate`: say what is open under names that this release does not know any more.

    A migration that renamed a model or a field without `RenameTracked` is noticed here first.
    """
    if not plan or using not in relations.log_databases() or not has_log(using):
        return
    with contextlib.suppress(Error):  # of a log that is half migrated: `status` tells it later
        for each in report.unknown([using]):
            logger.warning("%s: %s", each["name"], each["reason"])


def has_log(using: str) -> bool:
    """Whether the log's tables are in that database: not before the app's own migration."""
    there = connections[using].introspection.table_names()
    return {Deletion._meta.db_table, Audit._meta.db_table} <= set(there)


def _known() -> dict[Kind, list[str]]:
    found = relations.catalogue()
    children = [each.child._meta.label for each in found.relations]
    return {
        Kind.ALIAS: list(dict.fromkeys([*found.child_databases, *found.log_databases])),
        Kind.MODEL: list(dict.fromkeys([*found.parents, *children])),
        Kind.RELATION: [each.label for each in found.relations],
        Kind.FIELD: [
            f"{parent._meta.label}.{field.name}"
            for parent, fields in found.targets.items()
            for field in fields
        ],
    }


def _add(total: Changed, more: Changed) -> None:
    for table, number in more.items():
        total[table] = total.get(table, 0) + number
