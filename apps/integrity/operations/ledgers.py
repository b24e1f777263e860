"""Renames what child databases hold under the names of a log: findings of steps, and the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import relations
from ..backends.connections import reach, watched
from ..conf.steps import is_step, name_of
from ..control import actions, identity
from ..exceptions import DatabaseHindered
from ..log import findings, tallies
from ..log.renaming import Kind

if TYPE_CHECKING:
    from uuid import UUID

    from ..log.renaming import Renaming

#: How the verb calls what it renames.
FINDINGS, LEDGERS = "findings", "ledgers"


def rename(
    change: Renaming, *, using: str, actor: str, apply: bool, missed: list[str]
) -> dict[str, int]:
    """Rename in each child database what the log in `using` has there; return rows by table.

    Databases that cannot be reached are added to `missed`.
    """
    if change.kind is Kind.FIELD or (change.kind is Kind.ALIAS and not is_step(change.old)):
        return {}
    log, table = identity.of_log(using), FINDINGS if is_step(change.old) else LEDGERS
    number = 0
    for database in relations.catalogue().child_databases:
        try:
            reach(database)
            with watched(database):
                found = _rename_in(change, database, log=log, apply=False)
                if found and apply:
                    reason = f"{found:,} {table} in {database}"
                    actions.audit("rename", str(change), actor=actor, reason=reason, using=using)
                    found = _rename_in(change, database, log=log, apply=True)
                number += found
        except DatabaseHindered as error:
            if error.database not in {*missed}:
                missed.append(error.database)
    return {table: number}


def _rename_in(change: Renaming, database: str, *, log: UUID, apply: bool) -> int:
    if is_step(change.old):
        old, new = name_of(change.old), name_of(change.new)
        return findings.rename(old, new, database=database, log=log, apply=apply)
    return tallies.rename(change, database=database, log=log, apply=apply)
