"""The relations into a child database that are due → a pass of each, until time is up.

A relation that fails, or a log that does not answer, holds up no other relation. What a pass does
and promises: scan_pass.py.
"""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING

from django.db import connections
from django.db.models import BooleanField, ExpressionWrapper, Q

from .. import conf, relations
from ..backends import missing_tables
from ..backends.connections import CONNECTION_ERRORS, reach, watched
from ..backends.errors import Trouble, database_of, trouble_of
from ..control import actions, circuit_breaker, pacing
from ..exceptions import DatabaseHindered
from ..exceptions.failures import isolated
from ..exceptions.loggers import logger_of
from ..models import Scan
from ..models.moments import ServerNow
from .scan_pass import Pass
from .values import Mode, Scanned

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from ..backends.connections import Interrupts
    from ..relations import Relation

__all__ = ["Mode", "Scanned", "due", "due_databases", "scan"]

logger = logger_of("integrity.scan")


def scan(
    database: str,
    *,
    labels: Sequence[str] | None = None,
    seconds: float | None = None,
    mode: Mode | None = None,
    interruptions: Interrupts = (),
) -> tuple[list[Scanned], str]:
    """Scan the relations (or those named) whose children live in `database`, until time is up.

    `seconds` defaults to the setting `scan_seconds`. Return what was seen, and why the database or
    a log cannot be reached, or "". A relation that fails is reported with the reason; the others go
    on. Raises `UnknownDatabase`, and whatever of `interruptions` is raised meanwhile.
    """
    mode = mode or Mode()
    seconds = conf.current().scan_seconds if seconds is None else seconds
    deadline, results = time.monotonic() + seconds, list[Scanned]()
    interrupts = (*CONNECTION_ERRORS, *interruptions)

    database = relations.catalogue().database(database)
    if quiet := pacing.quiet_reason(database):
        logs = relations.catalogue().log_databases
        return [one for using in logs for one in _put_off(database, labels, using, quiet)], ""
    access = circuit_breaker.Access(database, interrupts)
    for using in access:
        with access.work(using):
            for relation in _chosen(database, labels, using, mode):
                if results and time.monotonic() >= deadline:
                    break
                scanned, log_answers = _scan_one(
                    relation, using, database, deadline, mode, interrupts
                )
                results.append(scanned)
                if not log_answers:
                    break
    unreachable = access.reason
    if not (unreachable or mode.throttled):
        seen = {scanned.relation for scanned in results}
        left_out, unreachable = _left_out(database, labels, seen)
        results += left_out
    waits = next((scanned.waits for scanned in results if scanned.waits), "")
    return results, unreachable or waits


def _scan_one(
    relation: Relation,
    using: str,
    database: str,
    deadline: float,
    mode: Mode,
    interrupts: Interrupts,
) -> tuple[Scanned, bool]:
    """Return what was seen, and whether the log still answers."""
    try:
        with watched(using):
            return _scan(relation, database, using, deadline, mode, interrupts), True
    except DatabaseHindered as raised:
        if raised.database == database:
            raise
        return _waiting(relation, database, raised), raised.database != using
    except interrupts:
        raise
    except Exception as error:  # noqa: BLE001 (its claim ends by itself; others go on)
        return _failed(relation, database, error), True


def _waiting(relation: Relation, database: str, raised: DatabaseHindered) -> Scanned:
    waits = circuit_breaker.log_wait(database, raised)
    return Scanned(relation=relation.label, database=database, reason=waits, waits=waits)


def _put_off(
    database: str, labels: Sequence[str] | None, using: str, reason: str
) -> Iterator[Scanned]:
    """Yield the relations that cannot be scanned now."""
    for relation in _relations(database, using, labels):
        yield Scanned(relation=relation.label, database=database, reason=reason)


def _left_out(
    database: str, labels: Sequence[str] | None, seen: Container[str]
) -> tuple[list[Scanned], str]:
    """Return the relations that were not scanned, with the reason; and why a log is unreachable."""
    left_out, unreachable = list[Scanned](), ""
    for using in relations.catalogue().log_databases:
        missed = [
            relation
            for relation in _relations(database, using, labels)
            if relation.label not in seen
        ]
        if not missed:
            continue
        try:
            reach(using)
            reason = actions.paused_reason(database, using=using) or "no time was left"
        except DatabaseHindered as error:
            reason = unreachable = circuit_breaker.log_wait(database, error)
        left_out += [
            Scanned(relation=relation.label, database=database, reason=reason)
            for relation in missed
        ]
    return left_out, unreachable


def due(database: str, *, using: str) -> tuple[str, ...]:
    """Return the labels of relations whose scan of `database` is under way, or due for a pass.

    Those scanned longest ago come first, so one that fails holds up no other.
    """
    return _due([database], using)[database]


def due_databases(*, using: str) -> tuple[str, ...]:
    """Return the child databases with a scan of this log that is due. One statement."""
    labels = _due(relations.catalogue().child_databases, using)
    return tuple(alias for alias, due_there in labels.items() if due_there)


def _due(databases: Sequence[str], using: str) -> dict[str, tuple[str, ...]]:
    period = dt.timedelta(seconds=conf.current().scan_period_seconds)
    rests = Q(began_at__isnull=True, covers_at__gt=ServerNow() - period) | Q(due_at__gt=ServerNow())
    rows = Scan.objects.using(using).filter(database__in=databases).order_by("due_at")
    known: dict[str, dict[str, bool]] = {alias: {} for alias in databases}
    resting = ExpressionWrapper(rests, BooleanField())
    for alias, label, rest in rows.values_list("database", "relation", resting):
        known[alias][label] = rest
    return {alias: _awaited(alias, using, known[alias]) for alias in databases}


def _awaited(database: str, using: str, known: Mapping[str, bool]) -> tuple[str, ...]:
    """Return the labels that are not `known` to rest, the unknown ones first. Pure."""
    labels = [relation.label for relation in _relations(database, using)]
    never = [label for label in labels if label not in known]
    return (*never, *(label for label, resting in known.items() if label in labels and not resting))


def _chosen(database: str, labels: Sequence[str] | None, using: str, mode: Mode) -> list[Relation]:
    if not mode.throttled:
        return _relations(database, using, labels)
    return [relations.catalogue().relation(label) for label in due(database, using=using)]


def _relations(database: str, using: str, labels: Container[str] | None = None) -> list[Relation]:
    """Return the relations into `database` whose scans this log keeps.

    It is the log of the parents' first database.
    """
    return [
        relation
        for relation in relations.catalogue().relations
        if database in relation.child_databases
        and relation.parent_databases[0] == using
        and (labels is None or relation.label in labels)
    ]


def _scan(
    relation: Relation,
    database: str,
    using: str,
    deadline: float,
    mode: Mode,
    interrupts: Interrupts,
) -> Scanned:
    scanned = Scanned(relation=relation.label, database=database)
    if not relation.indexed:
        scanned.reason = f"no index begins with {relation.label}: each step would read the table"
        return scanned
    scan_pass = Pass(relation, using, scanned, mode)
    if not scan_pass.claim():
        scanned.reason = "another scan is at work on it"
        return scanned
    ends: tuple[type[BaseException], ...] = (*interrupts, KeyboardInterrupt)
    try:
        with watched(database):
            scan_pass.run(deadline, interrupts)
    except ends as raised:
        with isolated(f"releasing the scan of {relation.label}", passing=(DatabaseHindered,)):
            _interrupted(scan_pass, raised)
        raise
    except Exception as error:  # noqa: BLE001 (one that fails must not stop the others)
        scanned.reason = _failed(relation, database, error).reason
        vendor = connections[database_of(error) or database].vendor
        if trouble_of(error, vendor) not in {Trouble.CONTENTION, Trouble.SCHEMA}:
            scan_pass.halve_step()  # it may have been too much for one statement
    scan_pass.release(scanned.reason)
    return scanned


def _interrupted(scan_pass: Pass, raised: BaseException) -> None:
    """Release the scan; take smaller steps where one may have been too long for a time limit."""
    if isinstance(raised, DatabaseHindered):
        scan_pass.release(f"{raised.database} {raised.sentence}")
    else:
        if not isinstance(raised, KeyboardInterrupt):
            scan_pass.halve_step()
        scan_pass.release("interrupted")


def _failed(relation: Relation, database: str, error: Exception) -> Scanned:
    reason, code = missing_tables.describe(error, [relation], database)
    logger.error("scan of %s in %s failed: %s%s", relation.label, database, reason, code)
    return Scanned(relation=relation.label, database=database, reason=reason)
