"""The document that `status` prints: backlog, lag, scans and heartbeats of all logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from .. import relations
from ..control import circuit_breaker
from .backlog import DatabaseRow, LogFigures, database_rows, probed
from .brakes import brakes
from .deletion_counts import deletion_counts
from .heartbeats import HeartbeatRow, heartbeats_in
from .scans import ScanRow, scan_rows_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .names import Unknown


class Status(TypedDict):
    """The whole picture."""

    databases: list[DatabaseRow]
    unknown: list[Unknown]
    deletions: dict[str, int]
    unreachable_logs: list[str]
    scans: list[ScanRow]
    workers: list[HeartbeatRow]
    beat: HeartbeatRow | None


def collect_status(*, probe: bool = False) -> Status:
    """Return backlog, lag and heartbeats, summed over the logs that answer.

    With `probe`, each child database that is not known to be unreachable is connected to.

    Raises:
        DatabaseUnreachable: no log answers.
    """
    catalogue, logs = relations.catalogue(), circuit_breaker.answering_logs()
    beats = [row for using in logs for row in heartbeats_in(using)]
    figures = {using: LogFigures.of(using) for using in logs}
    rows, unknown = database_rows(figures)
    return {
        "databases": probed(rows) if probe else rows,
        "unknown": unknown,
        "deletions": deletion_counts({using: log.work for using, log in figures.items()}),
        "unreachable_logs": [using for using in catalogue.log_databases if using not in logs],
        "scans": [row for using, log in figures.items() for row in _scans(using, log)],
        "workers": [row for row in beats if row["name"] != "beat"],
        "beat": next((row for row in beats if row["name"] == "beat"), None),
    }


def of_log(using: str) -> tuple[list[DatabaseRow], dict[str, str], list[Unknown]]:
    """Return the child databases, the brakes and the unknown names of one log."""
    log = LogFigures.of(using)
    rows, unknown = database_rows({using: log})
    return rows, brakes(using, log.work.suspects, log.small), unknown


def _scans(using: str, log: LogFigures) -> Iterator[ScanRow]:
    return scan_rows_in(using, log.small, log.work.suspects)
