"""Checks that a child database belongs to the parents' database that work is done for.

Note [First contact]: each parents' database has an identity, and a child database stores the first
one that it sees. With another parents' database (an alias that points to staging, a new database)
all rows would look like orphans. So no work starts until an operator accepts the new identity. A
copy has the identity of its original and cannot be distinguished from it.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import F

from .. import relations
from ..backends import missing_tables
from ..backends.connections import reach
from ..backends.single_row import row_with_pk
from ..exceptions import DatabaseUnreachable
from ..exceptions.loggers import logger_of
from ..log.renaming import Kind
from ..models import Identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from uuid import UUID

    from ..log.renaming import Renaming

logger = logger_of("integrity.identity")

#: Aliases that are known to have the table.
_migrated: set[str] = set()
#: Log → its identity, when it was read last.
_current: dict[str, UUID] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """A child database that stores another identity for the parents' database `using`."""

    database: str
    using: str
    known: UUID
    current: UUID

    def __str__(self) -> str:
        return (
            f"it belongs to another database: {self.database!r} knows {self.using!r} as"
            f" {self.known}, and finds {self.current}. Check that both aliases point where they"
            " should. If they do: `manage.py integrity resume --database"
            f" {self.database} --accept-identity`"
        )


def mismatch(database: str, *, using: str) -> Mismatch | None:
    """Return the mismatch between a child database and the parents' database `using`, or None.

    Only reads. Return None if no identity is stored yet. Raises the errors of both databases.
    """
    known, own = _row(database, using), _row(using, using)
    return _compared(database, using, known, own) if known and own else None


def own(homes: Iterable[str]) -> dict[str, str]:
    """Return the identities of those parents' databases that have one, as text."""
    rows = {home: _row(home, home) for home in homes}
    return {home: str(row.uuid) for home, row in rows.items() if row}


def register(database: str, *, using: str) -> Mismatch | None:
    """Return the mismatch or None as `mismatch` does; store the identity if none is stored yet.

    Return None if the child's database lacks the table.
    """
    own = _identity(using, of=using)
    _current[using] = own.uuid
    if not _has_table(database):
        return None
    known = _identity(database, of=using, new=own)
    return _compared(database, using, known, own)


def of_log(using: str) -> UUID:
    """Return the identity of a log, as `register` read it last."""
    if using not in _current:
        _current[using] = _identity(using, of=using).uuid
    return _current[using]


def _compared(database: str, using: str, known: Identity, own: Identity) -> Mismatch | None:
    if known.uuid == own.uuid:
        return None
    return Mismatch(database=database, using=using, known=known.uuid, current=own.uuid)


def accept(database: str, *, using: str) -> None:
    """Store the current identity of the parents' database in the child database."""
    own = _identity(using, of=using)
    Identity.objects.using(database).filter(alias=using).update(uuid=own.uuid)


def probe_write(database: str) -> None:
    """Execute a write in the child database that changes nothing.

    Raises the error that prevents writes. Does nothing if the table is missing.
    """
    if _has_table(database):
        Identity.objects.using(database).update(uuid=F("uuid"))


def _identity(database: str, *, of: str, new: Identity | None = None) -> Identity:
    """Return the identity stored in `database` for the alias `of`; store `new` if there is none."""
    known = row_with_pk(Identity, of, using=database)
    if known is None:
        rows = Identity.objects.using(database)
        fresh = Identity(alias=of, **({"uuid": new.uuid} if new else {}))
        rows.bulk_create([fresh], ignore_conflicts=True)
        known = rows.get(alias=of)
    return known


def _has_table(database: str) -> bool:
    if database not in _migrated:
        if missing_tables.absent([Identity], using=database):
            logger.warning(
                "%s cannot store the identity of its parents' database: run `manage.py migrate"
                " --database %s`",
                database,
                database,
            )
            return False
        _migrated.add(database)
    return True


def rename(change: Renaming, *, apply: bool) -> int:
    """Rename the alias of a parents' database in the stored identities; return the number of rows.

    A mismatch stays a mismatch. Changes nothing unless `apply`.
    """
    if change.kind is not Kind.ALIAS or change.new not in relations.catalogue().log_databases:
        return 0
    own = _row(change.new, change.old)
    mine = _row(change.new, change.new) or own
    changed = 0
    for database in _aliases(last=change.new):
        if (known := _row(database, change.old)) is None:
            continue
        changed += 1
        if apply:
            right = own is not None and mine is not None and known.uuid == own.uuid
            _learn(database, change, mine.uuid if right and mine else known.uuid)
    return changed


def _learn(database: str, change: Renaming, uuid: UUID) -> None:
    rows = Identity.objects.using(database)
    with transaction.atomic(using=database):
        if not rows.filter(alias=change.new).exists():
            rows.create(alias=change.new, uuid=uuid)
        rows.filter(alias=change.old).delete()


def _row(database: str, alias: str) -> Identity | None:
    return row_with_pk(Identity, alias, using=database) if _has_table(database) else None


def _aliases(*, last: str) -> tuple[str, ...]:
    """Return all aliases; `last` is the alias's own database, with which others are compared."""
    return (*(alias for alias in relations.catalogue().databases if alias != last), last)


def answering_homes(database: str, using: str) -> Iterator[str]:
    """Yield the parents' databases that answer. A silent one is no mismatch."""
    for home in relations.catalogue().homes(database, using):
        with contextlib.suppress(DatabaseUnreachable):
            reach(home, fresh=False)
            yield home
