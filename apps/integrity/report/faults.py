"""What is wrong, the worst first: the one answer of the pages, commands, probes and alarms.

`faults_of` is a pure function of figures, which may be exact or counted to a bound. Each `Fault`
says what is wrong where, since when, why, when it is tried again, and what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..models import ChildDatabase
from . import processes, remedies
from .fault import KINDS, Fault
from .pressure import awake_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .fault import Figures
    from .rows import DatabaseRow

#: A backlog younger than this is work, not a delay.
BEHIND_SECONDS = 60
#: Kinds that say why work on a database does not go on.
EXPLAIN = {"unreachable", "paused", "identity_mismatch", "restored", "workers", "failing"}


def faults_of(seen: Figures) -> tuple[Fault, ...]:
    """Return what is wrong, the worst first. Pure."""
    found = [*_of_installation(seen)]
    for row in seen.databases:
        found += [*_hindrances(row), *_of_work(row)]
    found += processes.faults_of(seen)
    explained = {fault.subject for fault in found if fault.kind in EXPLAIN}
    found += [
        fault
        for row in seen.databases
        if row["database"] not in explained
        for fault in _behind(row)
    ]
    return tuple(sorted(found, key=_weight))


def _weight(fault: Fault) -> tuple[int, float, str]:
    """Return what faults are sorted by: their kind, then the oldest first."""
    return KINDS.index(fault.kind), -(fault.since_seconds or 0.0), fault.subject


def _of_installation(seen: Figures) -> Iterator[Fault]:
    for using in seen.unreachable_logs:
        yield Fault(kind="log_unreachable", subject=using, remedy=remedies.server(using))
    if seen.broker and processes.needs_celery(seen.processes):
        yield Fault(
            kind="broker",
            since_seconds=seen.broker_seconds,
            cause=seen.broker,
            remedy=remedies.BROKER,
        )
    for entry in seen.unknown:
        cause, _, remedy = entry["reason"].partition(". `")
        yield Fault(
            kind="unknown",
            subject=entry["name"],
            number=entry["work"],
            cause=cause,
            remedy=f"`{remedy}" if remedy else "",
        )
    for label, reason in seen.brakes.items():
        yield Fault(
            kind="brake",
            subject=label,
            since_seconds=seen.scan_seconds.get(label),
            cause=reason,
            remedy=remedies.brake(label),
        )
    if seen.missing_parents:
        yield Fault(kind="orphans", number=seen.missing_parents, remedy=remedies.ORPHANS)


def _hindrances(row: DatabaseRow) -> Iterator[Fault]:
    """Yield why no work on a database may begin."""
    alias = row["database"]
    open_ = max(row["backlog"] - row["blocked"], 0)
    if row["unreachable"]:
        yield Fault(
            kind="unreachable",
            subject=alias,
            since_seconds=row["unreachable_seconds"],
            number=open_,
            cause=row["reason"],
            remedy=remedies.server(alias),
        )
    if row["paused"]:
        refused = row["paused_kind"] in ChildDatabase.REFUSALS
        yield Fault(
            kind=row["paused_kind"] if refused else "paused",
            subject=alias,
            since_seconds=row["paused_seconds"],
            number=open_,
            cause=row["reason"],
            remedy="" if refused else remedies.resume(alias),  # the reason names its own
        )


def _of_work(row: DatabaseRow) -> Iterator[Fault]:
    """Yield what is wrong with work on a database: it fails, or its proof or its rows are left."""
    alias = row["database"]
    if row["blocked"]:
        yield Fault(
            kind="blocked",
            subject=alias,
            since_seconds=row["blocked_seconds"],
            number=row["blocked"],
            cause=row["blocked_reason"],
            remedy=remedies.BLOCKED,
        )
    if row["failing"] and not (row["unreachable"] or row["paused"]):
        yield Fault(
            kind="failing",
            subject=alias,
            since_seconds=row["failing_seconds"],
            number=row["failing"],
            cause=row["failing_reason"],
            next_try_seconds=row["next_try_seconds"],
            remedy=remedies.FAILING,
        )
    if row["overdue"] and not row["paused"]:
        yield Fault(
            kind="unproven",
            subject=alias,
            since_seconds=row["waits_seconds"],
            number=row["unproven"],
            cause=row["unproven_reason"],
            remedy=remedies.UNPROVEN,
        )
    if row["late"]:
        yield Fault(
            kind="late",
            subject=alias,
            since_seconds=max(0.0, -(row["margin_seconds"] or 0.0)),
            number=row["late"],
            cause=row["reason"] or row["blocked_reason"] or row["unproven_reason"],
            remedy=remedies.LATE,
        )
    if (row["risk"] or 0.0) > 1:
        yield Fault(
            kind="at_risk", subject=alias, cause=row["risk_reason"], remedy=remedies.AT_RISK
        )
    if row["kept"]:
        yield Fault(kind="kept", subject=alias, number=row["kept"], remedy=remedies.KEPT)


def _behind(row: DatabaseRow) -> Iterator[Fault]:
    """Yield that a database is behind, where nothing else says why."""
    lag, at_work = row["lag_seconds"] or 0.0, row["claims"] or row["rate"]
    if (
        row["backlog"] > row["blocked"] + row["unknown"]
        and min(lag, awake_seconds(row["database"])) >= BEHIND_SECONDS
    ):
        yield Fault(
            kind="behind",
            subject=row["database"],
            since_seconds=lag,
            number=row["backlog"],
            cause=row["pace_reason"] or ("" if at_work else "no worker has claimed it"),
            remedy=remedies.BEHIND,
        )
