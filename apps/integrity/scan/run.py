"""The relations into a child database whose turn it is → a pass of each, until time is up.

Takes the catalogue and the rows of `Scan`; gives what was seen. One relation that fails, or a log
that is away, keeps no other from its turn. What a pass does and promises: passes.py.
"""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING

from django.db import connections
from django.db.models import BooleanField, ExpressionWrapper, Q
from django.db.models.functions import Now

from .. import conf, relations
from ..backends import missing_tables
from ..backends.connections import AWAY, reach, watched
from ..backends.errors import Trouble, database_of, trouble_of
from ..control import actions, circuit_breaker
from ..exceptions import DatabaseHindered
from ..exceptions.failures import isolated
from ..exceptions.loggers import logger_of
from ..models import Scan
from .scan_pass import Mode, Pass, Scanned

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from ..backends.connections import Away
    from ..relations import Relation

__all__ = ["Mode", "Scanned", "due", "scan"]

logger = logger_of("integrity.scan")


def scan(
    database: str,
    *,
    labels: Sequence[str] | None = None,
    seconds: float | None = None,
    mode: Mode | None = None,
    interruptions: Away = (),
) -> tuple[list[Scanned], str]:
    """Scan the relations (or those named) whose children live in `database`, until time is up.

    `seconds` defaults to the setting `scan_seconds`. Gives what was seen, and why the database or
    a log cannot be reached, or "". One that fails is reported with the reason; the others go on.
    """
    mode = mode or Mode()
    seconds = conf.current().scan_seconds if seconds is None else seconds
    deadline, found = time.monotonic() + seconds, list[Scanned]()
    away = (*AWAY, *interruptions)

    access = circuit_breaker.Access(relations.catalogue().database(database), away)
    for using in access:
        with access.work(using):
            for relation in _chosen(database, labels, using, mode):
                if found and time.monotonic() >= deadline:
                    break
                scanned, goes_on = _scan_one(relation, using, database, deadline, mode, away)
                found.append(scanned)
                if not goes_on:
                    break
    unreachable = access.reason
    if not (unreachable or mode.gentle):
        seen = {each.relation for each in found}
        left_out, unreachable = _left_out(database, labels, seen)
        found += left_out
    return found, unreachable or next((each.waits for each in found if each.waits), "")


def _scan_one(
    relation: Relation, using: str, database: str, deadline: float, mode: Mode, away: Away
) -> tuple[Scanned, bool]:
    """Return what was seen, and whether anything else that this log keeps can go on."""
    try:
        with watched(using):
            return _scan(relation, database, using, deadline, mode, away), True
    except DatabaseHindered as raised:
        if raised.database == database:
            raise
        return _waiting(relation, database, raised), raised.database != using
    except away:
        raise
    except Exception as error:  # noqa: BLE001 (its claim ends by itself; others go on)
        return _failed(relation, database, error), True


def _waiting(relation: Relation, database: str, raised: DatabaseHindered) -> Scanned:
    waits = circuit_breaker.log_wait(database, raised)
    return Scanned(relation=relation.label, database=database, reason=waits, waits=waits)


def _left_out(
    database: str, labels: Sequence[str] | None, seen: Container[str]
) -> tuple[list[Scanned], str]:
    """What was not scanned, and why: said, not passed over. And why a log did not answer, or ""."""
    left_out, unreachable = list[Scanned](), ""
    for using in relations.catalogue().log_databases:
        missed = [each for each in _relations(database, using, labels) if each.label not in seen]
        if not missed:
            continue
        try:
            reach(using)
            reason = actions.paused_reason(database, using=using) or "no time was left"
        except DatabaseHindered as error:
            reason = unreachable = circuit_breaker.log_wait(database, error)
        left_out += [
            Scanned(relation=each.label, database=database, reason=reason) for each in missed
        ]
    return left_out, unreachable


def due(database: str, *, using: str) -> tuple[str, ...]:
    """Labels of relations whose scan of `database` is under way, or due for its next pass.

    Those first whose turn is longest ago: one that fails keeps no other from its turn.
    """
    period = dt.timedelta(seconds=conf.current().scan_period_seconds)
    rests = Q(began_at__isnull=True, covers_at__gt=Now() - period) | Q(due_at__gt=Now())
    rows = Scan.objects.using(using).filter(database=database).order_by("due_at")
    known = dict(rows.values_list("relation", ExpressionWrapper(rests, BooleanField())))
    labels = [each.label for each in _relations(database, using)]
    never = [label for label in labels if label not in known]
    return (*never, *(label for label, resting in known.items() if label in labels and not resting))


def _chosen(database: str, labels: Sequence[str] | None, using: str, mode: Mode) -> list[Relation]:
    if not mode.gentle:
        return _relations(database, using, labels)
    return [relations.catalogue().relation(label) for label in due(database, using=using)]


def _relations(database: str, using: str, labels: Container[str] | None = None) -> list[Relation]:
    """The relations into `database` whose scans this log keeps: that of the parents' first home."""
    return [
        each
        for each in relations.catalogue().relations
        if database in each.child_databases
        and each.parent_databases[0] == using
        and (labels is None or each.label in labels)
    ]


def _scan(
    relation: Relation, database: str, using: str, deadline: float, mode: Mode, away: Away
) -> Scanned:
    scanned = Scanned(relation=relation.label, database=database)
    if not relation.indexed:
        scanned.reason = f"no index begins with {relation.label}: each step would read the table"
        return scanned
    run = Pass(relation, using, scanned, mode)
    if not run.claimed():
        scanned.reason = "another scan is at work on it"
        return scanned
    try:
        with watched(database):
            run.walk(deadline, away)
    except away as raised:
        with isolated(f"giving back the scan of {relation.label}", passing=(DatabaseHindered,)):
            if isinstance(raised, DatabaseHindered):
                run.give_back(f"{raised.database} {raised.sentence}")
            else:
                _halve(run)
                run.give_back("interrupted")
        raise
    except Exception as error:  # noqa: BLE001 (one that fails must not stop the others)
        scanned.reason = _failed(relation, database, error).reason
        vendor = connections[database_of(error) or database].vendor
        if trouble_of(error, vendor) not in {Trouble.CONTENTION, Trouble.SCHEMA}:
            _halve(run)  # it may have been too much for one statement
    run.give_back(scanned.reason)
    return scanned


def _halve(run: Pass) -> None:
    """Take half as many keys next time, down to a single one; `give_back` remembers it."""
    run.batch_size.rows = max(1, run.batch_size.rows // 2)


def _failed(relation: Relation, database: str, error: Exception) -> Scanned:
    reason, code = missing_tables.describe(error, [relation], database)
    logger.error("scan of %s in %s failed: %s%s", relation.label, database, reason, code)
    return Scanned(relation=relation.label, database=database, reason=reason)
