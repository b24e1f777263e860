"""Whether a child database belongs to the database of parents that it is worked on for.

The only writer of `Identity`.

Note [First contact]: each database of parents has an identity, and a child database remembers the
one that it met first. A parents' database with another one (an alias that points to staging, a
database made anew) would make orphans of all that lives, so no work starts before an operator says
that it is right. A copy has the identity of its original and is not told from it.
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
from ..exceptions import DatabaseUnreachable
from ..exceptions.loggers import logger_of
from ..log.renaming import Kind
from ..models import Identity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from ..log.renaming import Renaming

logger = logger_of("integrity.identity")

#: Aliases that are known to have the table.
_migrated: set[str] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """A child database that knows the parents' database `using` by another identity."""

    database: str
    using: str
    known: UUID
    found: UUID

    def __str__(self) -> str:
        return (
            f"it belongs to another database: {self.database!r} knows {self.using!r} as"
            f" {self.known}, and finds {self.found}. Check that both aliases point where they"
            " should. If they do: `manage.py integrity resume --database"
            f" {self.database} --accept-identity`"
        )


def mismatch(database: str, *, using: str) -> Mismatch | None:
    """Return how the child database fails to belong to the parents' database `using`, or None.

    Changes nothing. Nothing is told of databases that have not met. Raises their errors.
    """
    known, own = _row(database, using), _row(using, using)
    return _compared(database, using, known, own) if known and own else None


def register(database: str, *, using: str) -> Mismatch | None:
    """Return the same, and introduce them to each other where they have not met.

    Without its table in the child's database nothing can be told, and nothing is refused.
    """
    if not _has_table(database):
        return None
    own = _identity(using, of=using)
    known = _identity(database, of=using, new=own)
    return _compared(database, using, known, own)


def _compared(database: str, using: str, known: Identity, own: Identity) -> Mismatch | None:
    if known.uuid == own.uuid:
        return None
    return Mismatch(database=database, using=using, known=known.uuid, found=own.uuid)


def accept(database: str, *, using: str) -> None:
    """Let the child database take the parents' database as it is now."""
    own = _identity(using, of=using)
    Identity.objects.using(database).filter(alias=using).update(uuid=own.uuid)


def probe_write(database: str) -> None:
    """Write into the child database and change nothing.

    Raises what keeps writes from it. Without its table nothing is told.
    """
    if _has_table(database):
        Identity.objects.using(database).update(uuid=F("uuid"))


def _identity(database: str, *, of: str, new: Identity | None = None) -> Identity:
    """What `database` knows of the alias `of`; where it knows nothing yet, it learns `new`."""
    rows = Identity.objects.using(database)
    known = rows.filter(alias=of).first()
    if known is None:
        fresh = Identity(alias=of, **({"uuid": new.uuid} if new else {}))
        rows.bulk_create([fresh], ignore_conflicts=True)
        known = rows.get(alias=of)
    return known


def _has_table(database: str) -> bool:
    if database not in _migrated:
        if missing_tables.absent([Identity], using=database):
            logger.warning(
                "%s does not remember its parents' database: run `manage.py migrate --database %s`",
                database,
                database,
            )
            return False
        _migrated.add(database)
    return True


def rename(change: Renaming, *, apply: bool) -> int:
    """Let databases that know an alias of parents by its old name know it by the new one.

    A child that knew another database by the old name knows another one still: what is refused
    stays refused. Gives the number of rows; changes nothing unless `apply`.
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
    rows = Identity.objects.using(database).filter(alias=alias)
    return rows.first() if _has_table(database) else None


def _aliases(*, last: str) -> tuple[str, ...]:
    """All that may know it; `last` its own database, by which the others are judged."""
    return (*(each for each in relations.catalogue().databases if each != last), last)


def answering_homes(database: str, using: str) -> Iterator[str]:
    """The databases of parents that answer: one that does not condemns nobody either."""
    for home in relations.catalogue().homes(database, using):
        with contextlib.suppress(DatabaseUnreachable):
            reach(home)
            yield home
