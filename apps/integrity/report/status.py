"""The document that `status` prints: backlog, lag, scans and heartbeats of all logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from .. import relations
from ..conf.steps import without_steps
from ..control import circuit_breaker
from . import probes
from .backlog import LogFigures, database_rows, with_silences
from .brakes import brakes, scan_seconds
from .deletion_counts import deletion_counts
from .fault import Figures
from .faults import faults_of
from .heartbeats import heartbeats_in, ticks_of, workers_of
from .overview import missing_parents
from .scans import scan_rows_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .fault import Fault
    from .heartbeats import HeartbeatRow
    from .names import Unknown
    from .rows import DatabaseRow
    from .scans import ScanRow

#: How long `status` waits for the databases and the broker: longer than a connection may take.
PROBE_SECONDS = 6.0


class Status(TypedDict):
    """The whole picture. `faults` say what is wrong, the worst first.

    `eager` is whether Celery runs tasks in the process that calls them.
    """

    faults: list[dict[str, object]]
    databases: list[DatabaseRow]
    unknown: list[Unknown]
    deletions: dict[str, int]
    unreachable_logs: list[str]
    scans: list[ScanRow]
    workers: list[HeartbeatRow]
    beat: HeartbeatRow | None
    eager: bool


def collect_status(*, probe: bool = False) -> Status:
    """Return backlog, lag and heartbeats, summed over the logs that answer, and what is wrong.

    With `probe`, each child database that is not known to be unreachable is connected to, and the
    broker is asked. Without it, the broker's last answer counts.

    Raises:
        DatabaseUnreachable: no log answers.
    """
    catalogue, logs = relations.catalogue(), circuit_breaker.answering_logs()
    processes = [row for using in logs for row in heartbeats_in(using)]
    figures = {using: LogFigures.of(using) for using in logs}
    rows, unknown = database_rows(figures)
    answering = without_steps(
        row["database"] for row in rows if not row["unreachable"] and row["state"] != "unknown"
    )
    answers = probes.current(answering if probe else (), wait=PROBE_SECONDS if probe else 0.0)
    with_silences(rows, answers.databases)
    scans = [
        row
        for using, log in figures.items()
        for row in scan_rows_in(using, log.small, log.work.suspects)
    ]
    unreachable = [using for using in catalogue.log_databases if using not in logs]
    seen = Figures(
        databases=rows,
        processes=processes,
        unreachable_logs=unreachable,
        unknown=unknown,
        brakes={row["relation"]: row["brake"] for row in scans if row["brake"]},
        scan_seconds=scan_seconds(row for log in figures.values() for row in log.small.scans),
        missing_parents=_missing_parents(figures),
        celery=answers.celery,
        broker=answers.broker,
        broker_seconds=answers.broker_seconds,
    )
    return {
        "faults": [fault.document() for fault in faults_of(seen)],
        "databases": rows,
        "unknown": unknown,
        "deletions": deletion_counts({using: log.work for using, log in figures.items()}),
        "unreachable_logs": unreachable,
        "scans": scans,
        "workers": workers_of(processes),
        "beat": ticks_of(processes),
        "eager": answers.eager,
    }


def _missing_parents(logs: Mapping[str, LogFigures]) -> int:
    return sum(missing_parents(using, log.work.suspects) for using, log in logs.items())


def of_log(using: str) -> tuple[Sequence[DatabaseRow], tuple[Fault, ...]]:
    """Return the child databases in one log, and what is wrong there, but with its processes."""
    log = LogFigures.of(using)
    rows, unknown = database_rows({using: log})
    refused = brakes(using, log.work.suspects, log.small)
    return rows, faults_of(Figures(databases=rows, unknown=unknown, brakes=refused))
