"""`integrity status`: backlog, lag and coverage."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from django.db import OperationalError

from ...exceptions import DatabaseUnreachable
from ...exceptions.redaction import reason_of_error
from ...report import alarms
from ...report.status import collect_status
from ..exit_codes import ExitCode, usage_error
from ..options import add_wide
from ..verb import Result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.core.management.base import CommandParser

    from ...report.backlog import DatabaseRow
    from ...report.status import Status
    from ..terminal import Terminal

HELP = "Show the backlog and the lag of each child database."
WATCH_SECONDS = 2.0
DATABASE_COLUMNS = (
    *("database", "state", "backlog", "blocked", "lag_seconds"),
    *("unproven", "rate", "reason"),
)
WIDE_COLUMNS = (*DATABASE_COLUMNS[:-2], "unproven_seconds", *DATABASE_COLUMNS[-2:])
SCAN_COLUMNS = ("relation", "database", "coverage", "age_seconds", "waiting", "brake")


def add_arguments(parser: CommandParser) -> None:
    """Add `--wide` and `--watch`."""
    add_wide(parser)
    parser.add_argument("--watch", action="store_true", help="refresh until Ctrl-C")


def run(terminal: Terminal, *, json: bool, watch: bool, **_: object) -> Result:
    """Return the figures; with `watch`, print them until Ctrl-C."""
    if not watch:
        status = collect_status(probe=True)
        return Result(dict(status), exit_code(status))
    if json or not terminal.stdout.isatty():
        raise usage_error("--watch is for a terminal, and without --json")
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            _refresh(terminal)
            time.sleep(WATCH_SECONDS)
    return Result({})


def _refresh(terminal: Terminal) -> None:
    """Print the current figures. An unreachable log may be back at the next call."""
    try:
        status = collect_status(probe=True)
    except (OperationalError, DatabaseUnreachable) as error:
        terminal.clear()
        terminal.line(f"unreachable: {reason_of_error(error)}")
    else:
        terminal.clear()
        _print(status, terminal)


def exit_code(status: Status) -> ExitCode:
    """Return the exit code of those figures. Pure."""
    rows = status["databases"]
    if status["unreachable_logs"] or any(row["unreachable"] for row in rows):
        return ExitCode.UNREACHABLE
    if any(row["backlog"] > row["blocked"] + row["unknown"] for row in rows):
        return ExitCode.INCOMPLETE
    findings = status["unknown"] or any(
        row["blocked"] or row["overdue"] or row["kept"] for row in rows
    )
    return ExitCode.FINDINGS if findings else ExitCode.CLEAN


def render(document: Mapping[str, Any], terminal: Terminal, *, watch: bool, **_: object) -> None:
    """Print tables of databases and scans, and what needs attention."""
    if not watch:
        _print(document, terminal)


def _print(status: Mapping[str, Any], terminal: Terminal) -> None:
    columns = WIDE_COLUMNS if terminal.wide else DATABASE_COLUMNS
    terminal.table(columns, status["databases"], empty="No relation crosses databases.")
    for row in status["databases"]:
        for sentence in _attention(row):
            terminal.line(f"{row['database']}: {sentence}")
    if scans := status["scans"]:
        terminal.line("")
        terminal.table(SCAN_COLUMNS, scans, empty="")
    terminal.line("")
    for name in status["unknown"]:
        terminal.line(f"{name['name']}: {name['reason']}", terminal.style.ERROR)
    for using in status["unreachable_logs"]:
        terminal.line(f"the log in {using} cannot be reached", terminal.style.ERROR)
    terminal.line(f"workers: {_last_seen(status['workers'])}")
    terminal.line(f"beat: {_last_seen([status['beat']] if status['beat'] else [])}")
    counts = ", ".join(f"{n:,} {state}" for state, n in status["deletions"].items() if n)
    terminal.line(f"deletions: {counts or 'none'}")


def _attention(row: DatabaseRow) -> list[str]:
    """Return a sentence for each thing that needs attention in that database."""
    sentences = [row["pace_reason"]] if row["pace_reason"] else []
    if row["unproven_reason"]:
        waited = row["waits_seconds"] or 0
        sentences.append(
            f"{row['unproven']:,} done but not verified for {waited:,.0f} s:"
            f" {row['unproven_reason']}"
        )
    if row["kept"]:
        sentences.append(f"{row['kept']:,} {alarms.KEPT}")
    return sentences


def _last_seen(heartbeats: Sequence[Mapping[str, Any]]) -> str:
    ages = [heartbeat["seconds_ago"] for heartbeat in heartbeats]
    return f"last seen {min(ages):,.0f} s ago" if ages else "never seen"
