"""Pauses a child database that may not be worked on: it is another one, or a backup was restored.

What decides is in identity.py and restores.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import Error, connections

from ..backends.connections import require_working, watched
from ..backends.errors import database_of, words_of
from ..exceptions import DatabaseHindered
from ..exceptions.failures import isolated
from ..exceptions.loggers import logger_of
from ..models import ChildDatabase
from . import identity, restores
from .actions import pause

if TYPE_CHECKING:
    from ..backends.connections import Interrupts

logger = logger_of("integrity.control")


def is_refused(database: str, interrupts: Interrupts, *, using: str, again: bool) -> bool:
    """Return whether no work for that log may start on a child database; then it is paused.

    Backups are looked for every `restores.SECONDS`, or `again` now.
    """
    if mismatch := _mismatch(database, using):
        refuse(database, ChildDatabase.Pause.IDENTITY_MISMATCH, mismatch, using=using)
        return True
    reason = ""
    if again or restores.is_due(database, using=using):
        passing = (*interrupts, DatabaseHindered)
        with isolated(f"comparing {database} with its log", passing=passing), watched(database):
            reason = restores.reason(database, using=using)
    if reason:
        refuse(database, ChildDatabase.Pause.RESTORED, reason, using=using)
    return bool(reason)


def refuse(database: str, kind: ChildDatabase.Pause, reason: str, *, using: str) -> None:
    """Pause work on a child database until an operator has looked at it."""
    logger.error("%s: %s", database, reason)
    pause(database, actor="integrity", reason=reason, using=using, kind=kind)


def _mismatch(database: str, using: str) -> str:
    """Return why a database belongs to other parents, or "".

    A database whose identity cannot be read counts as hindered, whatever the error.
    """
    try:
        homes = identity.answering_homes(database, using)
        met = (identity.register(database, using=home) for home in homes)
        mismatch = next(filter(None, met), None)
    except Error as error:
        require_working(database, error)
        alias = database_of(error) or database
        words = words_of(error, connections[alias].vendor)
        raise DatabaseHindered(alias, f"its identity cannot be told, {words}") from error
    return str(mismatch) if mismatch else ""
