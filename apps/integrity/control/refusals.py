"""Pauses a child database that may not be worked on: it is another one, or a backup was restored.

What decides is in identity.py and restores.py.

Note [Noticed late]: between the look of a worker and its pause, `integrity replay` may have put all
back to work. It found no pause to end, and the next look finds nothing. So whoever pauses because
of a restore looks once more after it, and a replay asks for the pause after it has put back: one of
the two sees the other.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from django.db import Error, connections

from ..backends.connections import require_working, watched
from ..backends.errors import database_of, words_of
from ..exceptions import DatabaseHindered, RestoredDatabase
from ..exceptions.failures import isolated
from ..exceptions.loggers import logger_of
from ..models import ChildDatabase
from . import identity, restores
from .actions import pause, resume

if TYPE_CHECKING:
    from collections.abc import Callable

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
        refuse_restored(database, reason, lambda: True, using=using)
    return bool(reason)


def refuse(database: str, kind: ChildDatabase.Pause, reason: str, *, using: str) -> bool:
    """Pause work on a child database until an operator has looked at it.

    Return False if it was paused.
    """
    logger.error("%s: %s", database, reason)
    return pause(database, actor="integrity", reason=reason, using=using, kind=kind)


def refuse_restored(
    database: str, reason: str, replayed: Callable[[], bool], *, using: str
) -> None:
    """Pause work because of a restore, unless `replayed`, asked after it, and nothing is lacking.

    See Note [Noticed late].
    """
    paused = refuse(database, ChildDatabase.Pause.RESTORED, reason, using=using)
    if paused and replayed():
        why = "it was replayed meanwhile: the log and the database agree"
        with suppress(RestoredDatabase):
            resume(database, actor="integrity", reason=why, using=using)


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
