"""`integrity status`: backlog, lag and coverage."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from django.db import OperationalError

from ...exceptions import DatabaseUnreachable
from ...exceptions.redaction import reason_of_error
from ...report.fault import TROUBLE, Fault
from ...report.sentences import sentence
from ...report.status import collect_status
from ..exit_codes import ExitCode, usage_error
from ..verb import UNCHANGED, Result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.core.management.base import CommandParser

    from ...report.rows import DatabaseRow
    from ...report.status import Status
    from ..terminal import Terminal

HELP = "Show the backlog and the lag of each child database."
EXAMPLES = {
    "": "for people",
    "--json": "for a script",
    "--watch": "refreshed every two seconds, until Ctrl-C",
}
INTERRUPTED = UNCHANGED
WATCH_SECONDS = 2.0
DATABASE_COLUMNS = (
    *("database", "state", "backlog", "blocked", "lag_seconds"),
    *("unproven", "rate", "reason"),
)
WIDE_COLUMNS = (
    *("database", "state", "backlog", "failing", "blocked", "lag_seconds"),
    *("unproven", "unproven_seconds", "rate", "reason"),
)
SCAN_COLUMNS = ("relation", "database", "coverage", "age_seconds", "waiting", "brake")


def add_arguments(parser: CommandParser) -> None:
    """Add `--watch`."""
    parser.add_argument("--watch", action="store_true", help="refresh until Ctrl-C")


def run(terminal: Terminal, *, json: bool, watch: bool, **_: object) -> Result:
    """Return the figures; with `watch`, print them until Ctrl-C."""
    if not watch:
        status = collect_status(probe=True)
        return Result(dict(status), exit_code(status))
    if json or not terminal.stdout.isatty():
        raise usage_error("--watch is for a terminal, and without --json")
    while True:
        _refresh(terminal)
        time.sleep(WATCH_SECONDS)


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
    """Return the exit code of those figures: 0 where nothing is open and nothing is wrong. Pure."""
    rows = status["databases"]
    if status["unreachable_logs"] or any(row["unreachable"] for row in rows):
        return ExitCode.UNREACHABLE
    if any(row["backlog"] > row["blocked"] + row["unknown"] for row in rows):
        return ExitCode.INCOMPLETE
    return ExitCode.FINDINGS if status["faults"] else ExitCode.CLEAN


def render(document: Mapping[str, Any], terminal: Terminal, *, watch: bool, **_: object) -> None:
    """Print tables of databases and scans, and what needs attention."""
    if not watch:
        _print(document, terminal)


def _print(status: Mapping[str, Any], terminal: Terminal) -> None:
    for document in status["faults"]:
        _print_fault(Fault.of(document), terminal)
    columns = WIDE_COLUMNS if terminal.wide else DATABASE_COLUMNS
    if any(row["margin_seconds"] is not None for row in status["databases"]):
        columns = (*columns[:-1], "margin_seconds", "late", columns[-1])
    terminal.table(columns, status["databases"], empty="No relation crosses databases.")
    for row in status["databases"]:
        for line in _notes(row):
            terminal.line(f"{row['database']}: {line}")
    if scans := status["scans"]:
        terminal.line("")
        terminal.table(SCAN_COLUMNS, scans, empty="")
    terminal.line("")
    if status["eager"]:
        terminal.line("workers: not used, because CELERY_TASK_ALWAYS_EAGER is set")
    else:
        terminal.line(f"workers: {_last_seen(status['workers'])}")
    terminal.line(f"beat: {_last_seen([status['beat']] if status['beat'] else [])}")
    counts = ", ".join(f"{n:,} {state}" for state, n in status["deletions"].items() if n)
    terminal.line(f"deletions: {counts or 'none'}")


def _print_fault(fault: Fault, terminal: Terminal) -> None:
    styles = terminal.style
    style = styles.ERROR if fault.level == TROUBLE else styles.WARNING
    terminal.line(sentence(fault), style)
    guide = f"What to do: guide {fault.kind}."
    terminal.line(f"  {fault.remedy}. {guide}" if fault.remedy else f"  {guide}")


def _notes(row: DatabaseRow) -> list[str]:
    """Return what is no fault of that database, but explains its figures."""
    notes = [row["pace_reason"]] if row["pace_reason"] else []
    if row["unproven_reason"] and not row["overdue"]:
        waited = row["waits_seconds"] or 0
        late = f"{row['unproven']:,} done but not verified for {waited:,.0f} s"
        notes.append(f"{late}: {row['unproven_reason']}")
    return notes


def _last_seen(heartbeats: Sequence[Mapping[str, Any]]) -> str:
    ages = [heartbeat["seconds_ago"] for heartbeat in heartbeats]
    return f"last seen {min(ages):,.0f} s ago" if ages else "never seen"
