"""The circuit breaker of each child database decides whether work on it may start now.

Note [Healed]: a read-only or full server still answers. So a hindered database counts as healed
only after a write to it succeeded, and after work on it succeeded or none was due. Until then
`unreachable_since` stays; a probe that fails keeps it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import Error, connections
from django.db.models import Q

from .. import conf, relations
from ..backends.connections import (
    CONNECTION_ERRORS,
    Interrupts,
    is_alive,
    reach,
    require_working,
    warn_once,
    watched,
)
from ..backends.errors import database_of, words_of
from ..backends.single_row import row_with_pk
from ..exceptions import DatabaseHindered, DatabaseUnreachable
from ..exceptions.loggers import logger_of
from ..log import claims
from ..models import ChildDatabase
from ..models.moments import ServerNow
from . import identity, refusals

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping


logger = logger_of("integrity.control")


@dataclass(frozen=True, slots=True)
class Outage:
    """Why no work on a child database may start now. With `probe`, the caller may try it."""

    reason: str
    unreachable: bool
    probe: bool = False


def outage(database: str, *, using: str) -> Outage | None:
    """Return why no work on `database` may start, or None. Only reads."""
    return outage_of(row_with_pk(ChildDatabase, database, using=using))


def outage_of(row: ChildDatabase | None) -> Outage | None:
    """Return why no work may start, by what the log notes of a database. Pure."""
    if row is None or (row.paused_at is None and row.unreachable_since is None):
        return None
    if row.paused_at is not None:
        return Outage(row.paused_reason, unreachable=False)
    return Outage(row.reason, unreachable=True)


def undisturbed(databases: Collection[str], *, using: str) -> list[str]:
    """Return those of the databases that are neither paused nor hindered. One statement."""
    disturbed = Q(paused_at__isnull=False) | Q(unreachable_since__isnull=False)
    rows = ChildDatabase.objects.using(using).filter(disturbed)
    return sorted({*databases}.difference(rows.values_list("alias", flat=True)))


def claim_probe(database: str, *, using: str, writes: bool = True) -> bool:
    """Take the probe that is due on a hindered database; return whether this caller got it.

    One caller per `probe_seconds` gets it. A caller that only reads does not get it while work that
    writes is due: its success would not prove that the database accepts writes.
    """
    if not writes and claims.due_databases(database, using=using):
        return False
    again = ServerNow() + dt.timedelta(seconds=conf.current().probe_seconds)
    due = ChildDatabase.objects.using(using).filter(alias=database, probe_at__lte=ServerNow())
    return bool(due.update(probe_at=again))


@dataclass(slots=True)
class Access:
    """Work on a child database, for each log that allows it now.

    Iterate over it, and do the work for each log inside `work`. An outage of the child database is
    written to every log that answers. An outage of one log, or of a parents' database that it
    needs, does not stop the other logs.
    """

    database: str
    #: The exceptions that end all work.
    interrupts: Interrupts = CONNECTION_ERRORS
    #: Whether the work writes into the database.
    writes: bool = field(default=False, kw_only=True)
    #: Why the database cannot be worked on, as a sentence without its subject, or "".
    reason: str = field(default="", init=False)
    #: Log → relation → the largest step in rows, for relations where larger steps failed.
    step_rows: dict[str, Mapping[str, int]] = field(default_factory=dict, init=False)
    _ended: bool = field(default=False, init=False)
    #: The logs that note it as hindered. See Note [Healed].
    _hindered: set[str] = field(default_factory=set, init=False)

    def __iter__(self) -> Iterator[str]:
        """Yield the logs for which work may start now.

        Logs in which an operator paused the database are skipped, and so are hindered ones before
        the next probe is due.
        """
        outages = self._outages()
        if all(noted and not noted.probe for noted in outages.values()):
            reasons = [noted.reason for noted in outages.values() if noted and noted.unreachable]
            self.reason = self.reason or next(iter(reasons), "")
            return
        self._hindered = {using for using, noted in outages.items() if noted and noted.unreachable}
        with self.work(self.database, heals=False):
            reach(self.database, fresh=bool(self._hindered))
            if self._hindered:
                # The work meets again any error that says nothing about the database.
                with contextlib.suppress(Error), watched(self.database):
                    identity.probe_write(self.database)
        for using, noted in outages.items():
            if self._ended:
                return
            if (noted is None or noted.unreachable) and self._belongs(using):
                yield using

    def _belongs(self, using: str) -> bool:
        """Return whether the child database is that of this log's parents, and as it left it.

        See identity.py and restores.py.
        """
        with self.work(using, heals=False):
            # An outage may have been the restore of a backup.
            again, interrupts = using in self._hindered, self.interrupts
            if not refusals.is_refused(self.database, interrupts, using=using, again=again):
                return True
            self.healed(using)
        return False

    def _outages(self) -> dict[str, Outage | None]:
        """Return the outage that each log notes, with the probes that are this caller's."""
        outages: dict[str, Outage | None] = {}
        for using in answering_logs(fresh=False):
            with self.work(using, heals=False):
                outages[using] = self._outage(using)
            if self._ended:
                return {}
        return outages

    def _outage(self, using: str) -> Outage | None:
        row = row_with_pk(ChildDatabase, self.database, using=using)
        self.step_rows[using] = (row.step_rows if row else None) or {}
        noted = outage_of(row)
        if noted is None or not noted.unreachable:
            return noted
        return dataclasses.replace(
            noted, probe=claim_probe(self.database, using=using, writes=self.writes)
        )

    @contextlib.contextmanager
    def work(self, using: str, *, heals: bool = True) -> Iterator[None]:
        """Wrap the work for one log. An outage ends the block and is written to the logs.

        If it is an outage of another database than the child's, other logs continue.
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
            reason = note_outage(self.database, raised)  # also a second one: it is logged
            if not (elsewhere and self.reason):
                self.reason = reason
            self._ended = self._ended or not elsewhere

    def healed(self, using: str) -> None:
        """Note that some of the work for that log succeeded. See Note [Healed]."""
        if using in self._hindered:
            self._hindered.remove(using)
            write_recovery(self.database, using=using)


def log_wait(database: str, raised: DatabaseHindered) -> str:
    """Return, and log, why work on `database` has to wait for another one."""
    sentence = f"waits for {raised.database}, which {raised.sentence}"
    warn_once(f"{database} {sentence}")
    return sentence


def note_outage(database: str, raised: Exception) -> str:
    """Write to every log that the database is hindered; return the reason as a sentence.

    After an interruption by a time limit, the connection that did not answer is closed. Its
    database counts as unreachable only if it does not answer a new connection either. If it is a
    log or a parents' database, nothing is written about the child's.
    """
    if not isinstance(raised, DatabaseHindered):
        silent = database_of(raised) or database
        connections[silent].close()
        if is_alive(silent):  # slow, but no outage
            logger.warning("%s answers; work on %s met the time limit", silent, database)
            return ""
        raised = DatabaseUnreachable(silent, TimeoutError("no answer within the time limit"))
    if raised.database != database:
        return log_wait(database, raised)
    for using in answering_logs():
        try:
            write_outage(raised, using=using)
        except Error as error:  # such as a read-only log: the others are written
            words = words_of(error, connections[using].vendor)
            logger.warning("%s: the log in %s cannot note it: %s", database, using, words)
    logger.warning("%s %s", database, raised.sentence)
    return raised.sentence


def answering_logs(*, fresh: bool = True) -> tuple[str, ...]:
    """Return the logs that answer now, so that a silent one does not delay the others.

    Unless `fresh`, those that answered lately are not asked: see `connections.reach`.

    Raises:
        DatabaseUnreachable: no log answers.
    """
    answering, silent = [], []
    for using in relations.catalogue().log_databases:
        try:
            reach(using, fresh=fresh)
        except DatabaseUnreachable as error:
            silent.append(error)
        else:
            answering.append(using)
    if silent and not answering:
        raise silent[0]
    for unreachable in silent:
        warn_once(f"a deletion log cannot be reached: {unreachable}")
    return tuple(answering)


def write_outage(error: DatabaseHindered, *, using: str) -> None:
    """Write to one log that a child database is hindered, and why."""
    again = ServerNow() + dt.timedelta(seconds=conf.current().probe_seconds)
    rows = ChildDatabase.objects.using(using)
    rows.get_or_create(alias=error.database)
    rows.filter(alias=error.database).update(reason=error.sentence, probe_at=again)
    rows.filter(alias=error.database, unreachable_since=None).update(unreachable_since=ServerNow())


def write_recovery(database: str, *, using: str) -> None:
    """Write to one log that work on a child database is possible again."""
    ChildDatabase.objects.using(using).filter(
        alias=database, unreachable_since__isnull=False
    ).update(unreachable_since=None, probe_at=None, reason="")


def write_held_reason(database: str, reason: str, *, using: str) -> None:
    """Write what delays verification in a child database; "" for nothing."""
    rows = ChildDatabase.objects.using(using)
    if reason:
        rows.get_or_create(alias=database)
    rows.filter(alias=database).exclude(held_reason=reason).update(held_reason=reason)


def remember_step_rows(database: str, rows: Mapping[str, int], *, using: str) -> None:
    """Store what `Access.step_rows` holds in the next run."""
    known = ChildDatabase.objects.using(using)
    known.get_or_create(alias=database)
    known.filter(alias=database).update(step_rows=dict(rows) or None)
