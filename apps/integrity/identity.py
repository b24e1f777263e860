"""Whether a child database belongs to the database of parents that it is worked on for.

The only writer of `Identity`.

Note [First contact]: each database of parents has an identity, and a child database remembers the
one that it met first. A parents' database with another one (an alias that points to staging, a
database made anew) would make orphans of all that lives, so no work starts before an operator says
that it is right. A copy has the identity of its original and is not told from it.
"""

from __future__ import annotations

import logging

from django.db import connections
from django.db.models import F

from .models import Identity

logger = logging.getLogger("integrity.identity")

#: How the reason of a refusal begins.
STRANGER = "it belongs to another database"
#: Aliases that are known to have the table.
_migrated: set[str] = set()


def stranger(database: str, *, using: str) -> str:
    """Why the child database does not belong to the parents' database `using`, or "".

    Introduces them to each other where they have not met. Without its table in the child's database
    nothing can be told, and nothing is refused.
    """
    if not _has_table(database):
        return ""
    own = _identity(using, of=using)
    known = _identity(database, of=using, new=own)
    if known.uuid == own.uuid:
        return ""
    return (
        f"{STRANGER}: {database!r} knows {using!r} as {known.uuid}, and finds {own.uuid}. Check"
        " that both aliases point where they should, then"
        f" `integrity resume --database {database}`"
    )


def accept(database: str, *, using: str) -> None:
    """Let the child database take the parents' database as it is now."""
    own = _identity(using, of=using)
    Identity.objects.using(database).filter(alias=using).update(uuid=own.uuid)


def touch(database: str) -> None:
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
        if Identity._meta.db_table not in connections[database].introspection.table_names():
            logger.warning(
                "%s does not remember its parents' database: run `manage.py migrate --database %s`",
                database,
                database,
            )
            return False
        _migrated.add(database)
    return True
