"""Move open work from an old name to a new one, for the command and for migrations.

The functions return the number of changed rows by table. Each table is changed by its own writer.
Changes are recorded in the audit log. Running a rename again changes only what is left.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from django.db import Error, connections

from .. import relations
from ..conf.steps import is_step
from ..control import actions, circuit_breaker, identity
from ..exceptions import InvalidName
from ..exceptions.loggers import logger_of
from ..exceptions.suggestions import unknown
from ..log import deletions, renames
from ..log.fields import close_field, rename_field
from ..log.renaming import Kind, Renaming, field_of
from ..models import Audit, Deletion
from ..report import alarms, names
from ..report import fields as report_fields
from ..scan import scan_row
from . import ledgers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

logger = logger_of("integrity.renames")

#: Rows by table.
Changed = dict[str, int]


def require(change: Renaming, *, force: bool = False) -> None:
    """Raise `InvalidName` for a new name that is not in the catalogue, or an old name that is.

    With `force`, the old name may be in the catalogue.
    """
    known = _known()[change.kind]
    _require_one_parent(change)
    if change.new not in known:
        raise InvalidName(unknown(str(change.kind), change.new, known))
    if change.old == change.new:
        raise InvalidName(f"{change.old!r} is both the old name and the new one")
    if is_step(change.old) != is_step(change.new):
        raise InvalidName(f"of {change.old!r} and {change.new!r}, one is a step and one is not")
    if change.old in known and (is_step(change.old) or not force):
        forced = "" if is_step(change.old) else ". To move all of it nevertheless, add --force"
        raise InvalidName(
            f"the {change.kind} {change.old!r} is still in the catalogue: its work needs no new"
            f" name{forced}"
        )


def _require_one_parent(change: Renaming) -> None:
    (old, _), (new, _) = field_of(change.old), field_of(change.new)
    if change.kind is Kind.FIELD and old != new:
        raise InvalidName(
            f"{change.old!r} and {change.new!r} are fields of two models; if the model was"
            " renamed as well, rename the model first"
        )


def rename(
    change: Renaming, *, actor: str, apply: bool, unreached: list[str] | None = None
) -> Changed:
    """Rename in every log that answers, in its ledgers, and in the identities that children store.

    The child databases that cannot be reached are added to `unreached`: run it again for these.
    Before a step's cascades get a new name, all that it found has to have it: else they would end
    with nothing erased. So nothing else is renamed then, unless every child answers.
    """
    missed: list[str] = [] if unreached is None else unreached
    logs, total = circuit_breaker.answering_logs(), dict[str, int]()
    for using in logs:
        _add(total, ledgers.rename(change, using=using, actor=actor, apply=apply, missed=missed))
    if not (is_step(change.old) and missed):
        for using in logs:
            _add(total, rename_in(change, using=using, actor=actor, apply=apply))
        _add(total, {"identity": _identities(change, actor=actor, apply=apply)})
    return {table: number for table, number in total.items() if number}


def _identities(change: Renaming, *, actor: str, apply: bool) -> int:
    number = identity.rename(change, apply=False)
    if not (apply and number):
        return number
    reason = f"{number:,} stored identities of parents' databases"
    actions.audit("rename", str(change), actor=actor, reason=reason, using=change.new)
    return identity.rename(change, apply=True)


def rename_in(
    change: Renaming, *, using: str, actor: str, apply: bool, history: bool = True
) -> Changed:
    """Rename in one log; with `history`, rename finished work as well."""
    writers: dict[str, Callable[..., int]] = {
        "log": renames.rename,
        "fields": rename_field,
        **({"history": _rename_history} if history else {}),
        "scans": scan_row.rename,
        "databases": actions.rename,
        "alarms": alarms.rename,
    }
    rows_by_table = {
        table: write(change, using=using, apply=False) for table, write in writers.items()
    }
    if not apply or not any(rows_by_table.values()):
        return rows_by_table
    rows = f"{sum(rows_by_table.values()):,} rows"
    actions.audit("rename", str(change), actor=actor, reason=rows, using=using)
    return {table: write(change, using=using, apply=True) for table, write in writers.items()}


def _rename_history(change: Renaming, *, using: str, apply: bool) -> int:
    number = renames.rename_history(change, using=using, apply=apply)
    return number + rename_field(change, using=using, apply=apply, history=True)


def close(kind: Kind, name: str, *, reason: str, actor: str, apply: bool) -> Changed:
    """Give up the open work under a name that is not in the catalogue.

    Rows that refer to those parents stay. The scan of a relation that exists finds them. A field
    has to be in the catalogue: the log does not say which cascades wait for its values. Raises
    `InvalidName` for any other name of the catalogue.
    """
    known = _known()[kind]
    if kind is Kind.FIELD:
        if name not in known:
            listed = ", ".join(known) or "none"
            raise InvalidName(f"{name!r} is no field of the catalogue; known: {listed}")
    elif name in known:
        raise InvalidName(
            f"the {kind} {name!r} is still in the catalogue: its work cannot be given up"
        )
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
            pairs = names.under(kind, name, using=using)
            number = renames.close_names(pairs, why, using=using, apply=apply)
        return {
            "log": number,
            "scans": scan_row.forget(kind, name, using=using, apply=apply),
            "databases": actions.forget(name, using=using, apply=apply),
        }

    rows_by_table = give_up(apply=False)
    if not apply or not any(rows_by_table.values()):
        return rows_by_table
    actions.audit("close", f"{kind} {name}", actor=actor, reason=reason, using=using)
    return give_up(apply=True)


def _close_field(name: str, why: str, using: str, *, apply: bool) -> int:
    along = report_fields.along(*field_of(name))
    return close_field(
        name,
        [relation.label for relation in along],
        list(dict.fromkeys(alias for relation in along for alias in relation.child_databases)),
        why,
        using=using,
        apply=apply,
    )


def after_migrate(using: str, plan: Sequence[object] = (), **_: object) -> None:
    """Log the open work under names that the catalogue no longer knows (`post_migrate`).

    This reports a migration that renamed a model or a field without `RenameTracked`.
    """
    if not plan or using not in relations.log_databases() or not has_log(using):
        return
    with contextlib.suppress(Error):  # of a log that is half migrated: `status` shows it later
        for name in names.unknown([using]):
            logger.warning("%s: %s", name["name"], name["reason"])


def has_log(using: str) -> bool:
    """Return whether that database has the log's tables, which this app's migrations create."""
    tables = connections[using].introspection.table_names()
    return {Deletion._meta.db_table, Audit._meta.db_table} <= set(tables)


def _known() -> dict[Kind, list[str]]:
    """Return the names of the catalogue by their kind."""
    catalogue = relations.catalogue()
    children = [relation.child._meta.label for relation in catalogue.relations]
    return {
        Kind.ALIAS: list(dict.fromkeys([*catalogue.places, *catalogue.log_databases])),
        Kind.MODEL: list(dict.fromkeys([*catalogue.parents, *children])),
        Kind.RELATION: [relation.label for relation in catalogue.relations],
        Kind.FIELD: [
            f"{parent._meta.label}.{field.name}"
            for parent, fields in catalogue.targets.items()
            for field in fields
        ],
    }


def _add(total: Changed, more: Changed) -> None:
    for table, number in more.items():
        total[table] = total.get(table, 0) + number
