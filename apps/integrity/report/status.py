"""The document that `status` prints: backlog, lag, scans and heartbeats of all logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from .. import relations
from ..control import circuit_breaker
from .backlog import DatabaseRow, database_rows, probed
from .deletion_counts import deletion_counts
from .heartbeats import HeartbeatRow, heartbeats_in
from .scans import ScanRow, scan_rows_in
from .small_tables import SmallTables

if TYPE_CHECKING:
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
    small = {using: SmallTables.of(using) for using in logs}
    rows, unknown = database_rows(small)
    return {
        "databases": probed(rows) if probe else rows,
        "unknown": unknown,
        "deletions": deletion_counts(logs),
        "unreachable_logs": [using for using in catalogue.log_databases if using not in logs],
        "scans": [row for using in logs for row in scan_rows_in(using, small[using])],
        "workers": [row for row in beats if row["name"] != "beat"],
        "beat": next((row for row in beats if row["name"] == "beat"), None),
    }


def of_log(using: str) -> tuple[list[DatabaseRow], list[ScanRow], list[Unknown]]:
    """Return the rows of the child databases and of the scans, and unknown names, of one log."""
    small = SmallTables.of(using)
    rows, unknown = database_rows({using: small})
    return rows, list(scan_rows_in(using, small)), unknown
