"""The circuit breaker of each child database: whether work on it may start now.

Note [Healed]: a server that is read-only or full answers as well as ever. So one that was hindered
counts as healed only when a write went through and some work on it succeeded, or none was due.
Until then `unreachable_since` stays, and a probe that fails keeps it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import Error, connections
from django.db.models.functions import Now

from .. import conf, relations
from ..backends.connections import AWAY, Away, is_alive, reach, require_working, warn_once, watched
from ..backends.errors import database_of, words_of
from ..exceptions import DatabaseHindered, DatabaseUnreachable
from ..exceptions.loggers import logger_of
from ..log import claims
from ..models import ChildDatabase
from . import identity
from .actions import pause

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


logger = logger_of("integrity.control")


@dataclass(frozen=True, slots=True)
class Hindrance:
    """Why no work on a child database may start now; or may, to `probe` whether it is back."""

    reason: str
    unreachable: bool
    probe: bool = False


def hindrance(database: str, *, using: str, writes: bool = True) -> Hindrance | None:
    """What keeps work on `database` from starting: paused, or hindered and not yet due again.

    While it is hindered, one caller per interval is let through to probe; one that only reads, not
    before those that write: its success would not prove that they can.
    """
    rows = ChildDatabase.objects.using(using).filter(alias=database)
    known = rows.first()
    if known is None or (known.paused_at is None and known.unreachable_since is None):
        return None
    if known.paused_at is not None:
        return Hindrance(known.paused_reason, unreachable=False)
    if not writes and database in claims.due_databases(using=using):
        return Hindrance(known.reason, unreachable=True)
    again = Now() + dt.timedelta(seconds=conf.current().probe_seconds)
    probe = bool(rows.filter(probe_at__lte=Now()).update(probe_at=again))
    return Hindrance(known.reason, unreachable=True, probe=probe)


@dataclass(slots=True)
class Access:
    """Work on a child database, for each log that lets it start now.

    Iterate over it, and do the work for each alias inside `work`. What is found is noted in every
    log that answers. A log, or a parents' database that one needs, hinders no other log.
    """

    database: str
    #: What ends all of it.
    interrupts: Away = AWAY
    #: Whether the work writes into the database.
    writes: bool = field(default=False, kw_only=True)
    #: Why the database cannot be worked on, as a sentence without its subject, or "".
    reason: str = field(default="", init=False)
    _ended: bool = field(default=False, init=False)
    #: The logs that note it as hindered. See Note [Healed].
    _hindered: set[str] = field(default_factory=set, init=False)

    def __iter__(self) -> Iterator[str]:
        """The logs for which work may start now.

        Not those of which an operator paused it, nor before the next probe is due.
        """
        found = self._hindrances()
        if all(each and not each.probe for each in found.values()):
            reasons = [each.reason for each in found.values() if each and each.unreachable]
            self.reason = self.reason or next(iter(reasons), "")
            return
        self._hindered = {using for using, each in found.items() if each and each.unreachable}
        with self.work(self.database, heals=False):
            reach(self.database)
            if self._hindered:
                # Any error that says nothing of the database is met by the work again.
                with contextlib.suppress(Error), watched(self.database):
                    identity.touch(self.database)
        for using, each in found.items():
            if self._ended:
                return
            if (each is None or each.unreachable) and self._belongs(using):
                yield using

    def _belongs(self, using: str) -> bool:
        """Return whether the child database is that of this log's parents: see identity.py."""
        with self.work(using, heals=False):
            if not _refused(self.database, using=using):
                return True
            self.healed(using)
        return False

    def _hindrances(self) -> dict[str, Hindrance | None]:
        found: dict[str, Hindrance | None] = {}
        for using in answering_logs():
            with self.work(using, heals=False):
                found[using] = hindrance(self.database, using=using, writes=self.writes)
            if self._ended:
                return {}
        return found

    @contextlib.contextmanager
    def work(self, using: str, *, heals: bool = True) -> Iterator[None]:
        """Around the work for one log. What hinders a database ends the block, and is noted.

        Where that is another database than the child's, other logs go on.
        """
        try:
            try:
                yield
                if heals:
                    self.healed(using)
            except Error as error:
                require_working(using, error)
                raise
        except self.interrupts as raised:
            elsewhere = isinstance(raised, DatabaseHindered) and raised.database != self.database
            if elsewhere:
                self.reason = self.reason or lost(self.database, raised)
            else:
                self.reason, self._ended = lost(self.database, raised), True

    def healed(self, using: str) -> None:
        """Note that some of the work for that log succeeded. See Note [Healed]."""
        if using in self._hindered:
            self._hindered.remove(using)
            reachable(self.database, using=using)


def waits_for(database: str, raised: DatabaseHindered) -> str:
    """Return, and log, why work on `database` has to wait for another one."""
    sentence = f"waits for {raised.database}, which {raised.sentence}"
    warn_once(f"{database} {sentence}")
    return sentence


def _refused(database: str, *, using: str) -> bool:
    """Pause work on a database that belongs to other parents; see identity.py.

    One that cannot be asked is hindered, whatever the error: it may belong to other parents.
    """
    try:
        homes = identity.answering_homes(database, using)
        met = (identity.meet(database, using=home) for home in homes)
        mismatch = next(filter(None, met), None)
    except Error as error:
        require_working(database, error)
        alias = database_of(error) or database
        words = words_of(error, connections[alias].vendor)
        raise DatabaseHindered(alias, f"its identity cannot be told, {words}") from error
    if mismatch:
        logger.error("%s: %s", database, mismatch)
        kind, reason = ChildDatabase.Pause.IDENTITY_MISMATCH, str(mismatch)
        pause(database, actor="integrity", reason=reason, using=using, kind=kind)
    return bool(mismatch)


def lost(database: str, raised: Exception) -> str:
    """Note in every log that the database is hindered; return the reason, as a sentence.

    After an interruption (a time limit) the connection that was waited for is given up. Only where
    its database does not answer a new one, either, it counts as away. Where that was a log or a
    parents' database, nothing is noted of the child's.
    """
    if not isinstance(raised, DatabaseHindered):
        silent = database_of(raised) or database
        connections[silent].close()
        if is_alive(silent):  # it works, and slowly: that is no outage
            logger.warning("%s answers; work on %s met the time limit", silent, database)
            return ""
        raised = DatabaseUnreachable(silent, TimeoutError("no answer within the time limit"))
    if raised.database != database:
        return waits_for(database, raised)
    for using in answering_logs():
        try:
            unreachable(raised, using=using)
        except Error as error:  # a log that is read-only, say: the others are told all the same
            words = words_of(error, connections[using].vendor)
            logger.warning("%s: the log in %s cannot note it: %s", database, using, words)
    logger.warning("%s %s", database, raised.sentence)
    return raised.sentence


def answering_logs() -> tuple[str, ...]:
    """The logs that answer now: one that does not keeps no other waiting.

    Raises `DatabaseUnreachable` where none answers.
    """
    answering, silent = [], []
    for using in relations.catalogue().log_databases:
        try:
            reach(using)
        except DatabaseUnreachable as error:
            silent.append(error)
        else:
            answering.append(using)
    if silent and not answering:
        raise silent[0]
    for each in silent:
        logger.warning("a deletion log cannot be reached: %s", each)
    return tuple(answering)


def unreachable(error: DatabaseHindered, *, using: str) -> None:
    """Note that a child database is hindered, and why; others are not concerned."""
    again = Now() + dt.timedelta(seconds=conf.current().probe_seconds)
    rows = ChildDatabase.objects.using(using)
    rows.get_or_create(alias=error.database)
    rows.filter(alias=error.database).update(reason=error.sentence, probe_at=again)
    rows.filter(alias=error.database, unreachable_since=None).update(unreachable_since=Now())


def reachable(database: str, *, using: str) -> None:
    """Note that a child database can be worked on again."""
    ChildDatabase.objects.using(using).filter(
        alias=database, unreachable_since__isnull=False
    ).update(unreachable_since=None, probe_at=None, reason="")


def held(database: str, reason: str, *, using: str) -> None:
    """Note what verification in a child database waits for, or that it waits for nothing."""
    rows = ChildDatabase.objects.using(using)
    if reason:
        rows.get_or_create(alias=database)
    rows.filter(alias=database).exclude(held_reason=reason).update(held_reason=reason)


def step_rows(database: str, *, using: str) -> dict[str, int]:
    """Return relation → the most rows that one step may take, where more have been too many."""
    known = ChildDatabase.objects.using(using).filter(alias=database)
    return known.values_list("step_rows", flat=True).first() or {}


def remember_step_rows(database: str, rows: Mapping[str, int], *, using: str) -> None:
    """Note for the next run what `step_rows` returns."""
    known = ChildDatabase.objects.using(using)
    known.get_or_create(alias=database)
    known.filter(alias=database).update(step_rows=dict(rows) or None)
