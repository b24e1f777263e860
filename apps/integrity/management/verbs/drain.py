"""`integrity drain`: do the work of workers in this process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ... import relations
from ...queues import in_process
from ..backlog import backlog_of, report_unreachable, unknown_names
from ..exit_codes import ExitCode
from ..options import add_database, seconds
from ..verb import Result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.core.management.base import CommandParser

    from ...queues.in_process import DrainResult
    from ...report.rows import DatabaseRow
    from ..terminal import Terminal

COUNTS = ("dispatched", "cascaded", "verified", "kept", "pending")
HELP = "Dispatch, cascade and verify in this process. It does not need Celery."
EXAMPLES = {
    "": "do what is due, and end",
    "--database blog_db --timeout 60": "one database, for a minute at most",
    "--verify": "wait until it is proven that no row is left",
    "--forever": "instead of Celery's workers and beat",
}
INTERRUPTED = (
    "what is done is committed, the rest stays in the log, and nothing is done twice. Run drain"
    " again in some seconds, when the claims of this process have ended; or leave it to workers"
)


def add_arguments(parser: CommandParser) -> None:
    """Add `--database`, `--timeout`, `--verify` and `--forever`."""
    add_database(parser)
    parser.add_argument(
        "--timeout", type=seconds, metavar="S", help="stop after this number of seconds"
    )
    parser.add_argument(
        "--verify", action="store_true", help="wait until verification finds no rows left"
    )
    parser.add_argument(
        "--forever",
        action="store_true",
        help="work until SIGTERM or Ctrl-C, with verification and scans",
    )


def run(
    terminal: Terminal,
    *,
    database: str | None,
    timeout: float | None,
    verify: bool,
    forever: bool,
    **_: object,
) -> Result:
    """Drain the databases; with `forever`, work until a signal stops the process."""
    catalogue = relations.catalogue()
    databases = [catalogue.place(database)] if database else list(catalogue.places)
    if forever:
        worker = in_process.Worker(databases, progress=terminal.progress)
        worker.run()
        if worker.interrupted:
            raise KeyboardInterrupt
        return Result({})
    deadline = float("inf") if timeout is None else time.monotonic() + timeout
    result = drain(databases, terminal, verify=verify, deadline=deadline)
    left = backlog_of(databases)
    report_unreachable(result.unreachable, terminal.progress)
    code = max(exit_code(result, left), unknown_names(terminal.progress))
    pending = sum(row["backlog"] for row in left)
    if not verify and (unproven := sum(row["unproven"] for row in left)):
        terminal.progress(f"{unproven:,} not verified yet: `drain --verify` waits for it")
    return Result({**document(result, verify=verify), "pending": pending}, code)


def drain(
    databases: Sequence[str],
    terminal: Terminal,
    *,
    verify: bool = False,
    deadline: float = float("inf"),
) -> DrainResult:
    """Drain the databases; afterwards, raise the first error of any of them."""
    result = in_process.drain(
        databases, verify=verify, progress=terminal.progress, deadline=deadline
    )
    for error in result.errors.values():
        raise error
    return result


def document(result: DrainResult, *, verify: bool) -> dict[str, Any]:
    """Return the figures of the `--json` document. Pure."""
    figures = {
        "dispatched": result.dispatched,
        "cascaded": result.cascaded,
        "verified": result.verified,
        "kept": result.kept,
        "rows": dict(result.rows),
    }
    return {**figures, "unproven": result.unproven, "held": result.held} if verify else figures


def exit_code(result: DrainResult, left: Sequence[DatabaseRow]) -> ExitCode:
    """Return the exit code of the result and the backlog that is left. Pure."""
    codes = [ExitCode.CLEAN]
    if any(row["blocked"] for row in left):
        codes.append(ExitCode.FINDINGS)
    waiting = any(row["backlog"] > row["blocked"] + row["unknown"] for row in left)
    if result.unproven or waiting:
        codes.append(ExitCode.INCOMPLETE)
    if result.unreachable:
        codes.append(ExitCode.UNREACHABLE)
    return max(codes)


def render(
    document: Mapping[str, Any],
    terminal: Terminal,
    *,
    forever: bool,
    code: ExitCode,
    **_: object,
) -> None:
    """Print the totals, and the rows along each relation."""
    if forever:
        return
    if code is ExitCode.CLEAN and not any(document[name] for name in COUNTS):
        terminal.line("nothing to do")
        return
    line = "dispatched {dispatched:,}, cascaded {cascaded:,}, verified {verified:,}, "
    terminal.line((line + "pending {pending:,}").format(**document))
    for label, number in sorted(document["rows"].items()):
        terminal.line(f"  {number:,} {label}")
