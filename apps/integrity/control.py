"""Whether work on a child database may go on, by what happens and by what an operator says.

The only writer of `ChildDatabase`, `Heartbeat` and `Audit`. What an operator does is audited in the
same transaction.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from django.db import Error, connections, transaction
from django.db.models.functions import Now

from . import conf, identity, log, relations
from .exceptions import DatabaseUnreachable
from .models import Audit, ChildDatabase, Heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

logger = logging.getLogger("integrity.control")

#: Between two notes of one process that it is alive.
BEAT_SECONDS = 5

#: Types of exceptions, as an `except` takes them.
Away: TypeAlias = tuple[type[Exception], ...]


@dataclass(frozen=True, slots=True)
class Hindrance:
    """Why no work on a child database may start now; or may, to `probe` whether it is back."""

    reason: str
    unreachable: bool
    probe: bool = False


def hindrance(database: str, *, using: str) -> Hindrance | None:
    """What keeps work on `database` from starting: paused, or unreachable and not yet due again.

    While it cannot be reached, one caller per interval is let through to probe.
    """
    rows = ChildDatabase.objects.using(using).filter(alias=database)
    known = rows.first()
    if known is None or (known.paused_at is None and known.unreachable_since is None):
        return None
    if known.paused_at is not None:
        return Hindrance(known.paused_reason, unreachable=False)
    again = Now() + dt.timedelta(seconds=conf.current().probe_seconds)
    probe = bool(rows.filter(probe_at__lte=Now()).update(probe_at=again))
    return Hindrance(known.reason, unreachable=True, probe=probe)


#: Exceptions that mean "the database is away"; a caller with a time limit adds that one's.
AWAY: Away = (DatabaseUnreachable,)


def in_each_log(database: str, work: Callable[[str], None], away: Away = AWAY) -> str:
    """Call `work(using)` for each log whose work on `database` may start now.

    Not while an operator paused it, nor before the next probe is due. Gives why the database
    cannot be reached, or "". What is found is noted in every log that answers.
    """
    logs = answering_logs()
    found = {using: hindrance(database, using=using) for using in logs}
    if all(each and not each.probe for each in found.values()):
        return next((each.reason for each in found.values() if each and each.unreachable), "")
    try:
        reach(database)
        for using, each in found.items():
            if each and each.unreachable:
                reachable(database, using=using)
        for using, each in found.items():
            if (each is None or each.unreachable) and not _refused(database, using=using):
                work(using)
    except away as raised:
        return lost(database, raised)
    return ""


def _refused(database: str, *, using: str) -> bool:
    """Pause work on a database that belongs to other parents; see identity.py."""
    with watched(database):
        reason = next(
            filter(
                None, (identity.stranger(database, using=home) for home in _homes(database, using))
            ),
            "",
        )
    if reason:
        logger.error("%s: %s", database, reason)
        pause(database, actor="integrity", reason=reason, using=using)
    return bool(reason)


def _homes(database: str, using: str) -> Iterator[str]:
    """The databases of parents that answer: one that does not condemns nobody either."""
    for home in relations.catalogue().homes(database, using):
        with contextlib.suppress(DatabaseUnreachable):
            reach(home)
            yield home


def lost(database: str, raised: Exception) -> str:
    """Note in every log that the database went away; gives the reason.

    An interruption (a time limit) means that it did not answer: its connection is given up.
    """
    if not isinstance(raised, DatabaseUnreachable):
        connections[database].close()
        raised = DatabaseUnreachable(database, TimeoutError("no answer within the time limit"))
    for using in answering_logs():
        unreachable(raised, using=using)
    logger.warning("%s cannot be reached: %s", database, raised.reason)
    return raised.reason


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


def reach(database: str) -> None:
    """Make sure that `database` answers. Raises `DatabaseUnreachable`."""
    connection = connections[database]
    try:
        connection.ensure_connection()
        if connection.in_atomic_block or connection.is_usable():
            return
        connection.close()
        connection.ensure_connection()
    except Error as error:
        connection.close()
        raise DatabaseUnreachable(database, error) from error


@contextlib.contextmanager
def given_up(database: str, away: Away) -> Iterator[None]:
    """Within a transaction of `database`: close the connection on one of `away`.

    A rollback would wait for a database that does not answer, past every time limit.
    """
    try:
        yield
    except away:
        connections[database].close()
        raise


@contextlib.contextmanager
def watched(database: str) -> Iterator[None]:
    """Tell errors of a database that is away (`DatabaseUnreachable`) from all others."""
    try:
        yield
    except Error:
        reach(database)
        raise


def unreachable(error: DatabaseUnreachable, *, using: str) -> None:
    """Note that a child database cannot be reached, and why; others are not concerned."""
    again = Now() + dt.timedelta(seconds=conf.current().probe_seconds)
    rows = ChildDatabase.objects.using(using)
    rows.get_or_create(alias=error.database)
    rows.filter(alias=error.database).update(reason=error.reason, probe_at=again)
    rows.filter(alias=error.database, unreachable_since=None).update(unreachable_since=Now())


def reachable(database: str, *, using: str) -> None:
    """Note that a child database answers again."""
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


def paused_reason(database: str, *, using: str) -> str:
    """Why nothing is done in that child database, or "" where it is not paused."""
    row = ChildDatabase.objects.using(using).filter(alias=database, paused_at__isnull=False).first()
    return f"paused: {row.paused_reason or 'no reason given'}" if row else ""


def is_paused(database: str, *, using: str) -> bool:
    """Whether an operator has stopped work on that child database."""
    return (
        ChildDatabase.objects.using(using).filter(alias=database, paused_at__isnull=False).exists()
    )


def pause(database: str, *, actor: str, reason: str, using: str) -> bool:
    """Stop work on a child database within one turn, audited; False when it was paused before."""
    with transaction.atomic(using=using):
        rows = ChildDatabase.objects.using(using)
        rows.get_or_create(alias=database)
        changed = rows.filter(alias=database, paused_at=None).update(
            paused_at=Now(), paused_reason=reason
        )
        audit("pause", database, actor=actor, reason=reason, using=using)
    return bool(changed)


def resume(database: str, *, actor: str, reason: str, using: str) -> bool:
    """Let work on a child database go on, audited; False when it was not paused.

    One that was paused because it belongs to other parents takes these for its own from now on.
    """
    paused = ChildDatabase.objects.using(using).filter(alias=database)
    if paused.filter(paused_reason__startswith=identity.STRANGER).exists():
        reach(database)
        for home in _homes(database, using):
            identity.accept(database, using=home)
    with transaction.atomic(using=using):
        changed = (
            ChildDatabase.objects.using(using)
            .filter(alias=database, paused_at__isnull=False)
            .update(paused_at=None, paused_reason="")
        )
        audit("resume", database, actor=actor, reason=reason, using=using)
    return bool(changed)


def retry(deletions: Sequence[int] | None, *, actor: str, using: str) -> int:
    """Put blocked cascades (of those deletions, or all) back to work; gives their number."""
    with transaction.atomic(using=using):
        changed = log.retry(deletions, using=using)
        target = "all" if deletions is None else ", ".join(map(str, deletions))
        audit("retry", target, actor=actor, reason=f"{changed} cascades", using=using)
    return changed


def beat(name: str, *, using: str) -> None:
    """Note that the process `name` is alive and tends this log; once a moment is enough."""
    rows = Heartbeat.objects.using(using).filter(name=name)
    a_moment_ago = Now() - dt.timedelta(seconds=BEAT_SECONDS)
    if rows.filter(seen_at__range=(a_moment_ago, Now())).exists():
        return  # a commit for each small task would cost more than the task
    if not rows.update(seen_at=Now()):
        rows.bulk_create([Heartbeat(name=name)], ignore_conflicts=True)


def audit(verb: str, target: str, *, actor: str, reason: str, using: str) -> None:
    """Note what an operator did, to what, and why."""
    Audit.objects.using(using).create(actor=actor, verb=verb, target=target[:200], reason=reason)
