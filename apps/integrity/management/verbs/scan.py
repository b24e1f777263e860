"""`integrity scan`: find rows whose parent is gone."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

from ... import relations, scan
from ...control import actions, circuit_breaker
from ...exceptions import UnknownName
from ...report.lengths import number_of
from ..backlog import report_unreachable, unknown_names
from ..exit_codes import ExitCode
from ..options import add_database, add_relation, seconds
from ..verb import Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from django.core.management.base import CommandParser

    from ...relations import Relation
    from ...scan import Scanned
    from ..terminal import Terminal, WriteLine

HELP = "Find rows whose parent is gone. It never writes to a scanned table."
EXAMPLES = {
    "": "go on where the last scan ended",
    "--full --relation blog.Post.author": "one relation, from the beginning",
    "--database blog_db --max-runtime 600": "one database, for ten minutes at most",
}
INTERRUPTED = (
    "nothing was written to a scanned table, and what was found is in the log. Run `integrity scan`"
    " again: without --full it goes on from there"
)
#: The columns that are not for wide tables only.
COLUMNS = (
    *("relation", "database", "rows_scanned", "suspects", "blocked", "orphans"),
    *("complete", "reason"),
)
#: The time between two progress lines.
PROGRESS_SECONDS = 1.0


def add_arguments(parser: CommandParser) -> None:
    """Add `--relation`, `--database`, `--full` and `--max-runtime`."""
    add_relation(parser)
    add_database(parser)
    parser.add_argument("--full", action="store_true", help="start each pass from the beginning")
    parser.add_argument(
        "--max-runtime", type=seconds, metavar="S", help="stop after this number of seconds"
    )
    parser.add_argument(
        "--progress",
        action="store_true",
        help="report progress each second, even if stderr is not a terminal",
    )


def run(
    terminal: Terminal,
    *,
    relation: str | None,
    database: str | None,
    full: bool,
    max_runtime: float | None,
    progress: bool = False,
    **_: object,
) -> Result:
    """Scan the relations until their passes are complete, or time is up."""
    catalogue = relations.catalogue()
    chosen = [catalogue.relation(relation)] if relation else list(catalogue.relations)
    databases = child_databases_of(chosen)
    if database and catalogue.database(database) not in databases:
        raise UnknownName(f"database of {relation}", database, databases)
    scanned, code = scan_relations(
        chosen,
        [database] if database else databases,
        terminal,
        full=full,
        progress=progress,
        deadline=float("inf") if max_runtime is None else time.monotonic() + max_runtime,
    )
    return Result({"relations": [dataclasses.asdict(row) for row in scanned]}, code)


def child_databases_of(chosen: Iterable[Relation]) -> list[str]:
    """Return the child databases of those relations, each once. Pure."""
    return list(dict.fromkeys(alias for relation in chosen for alias in relation.child_databases))


def scan_relations(
    chosen: Sequence[Relation],
    databases: Iterable[str],
    terminal: Terminal,
    *,
    full: bool,
    progress: bool = False,
    deadline: float = float("inf"),
) -> tuple[list[Scanned], ExitCode]:
    """Scan those relations in those databases.

    `deadline` is a time of the monotonic clock. With `progress`, or on a terminal, it says how far
    it is. Return the result of each scan, and the exit code.
    """
    watched = progress or terminal.is_watched
    tell = ScanProgress(terminal.progress) if watched else scan.Mode().tell
    mode = scan.Mode(full=full, tell=tell)
    labels = [relation.label for relation in chosen]
    scanned: list[Scanned] = []
    unreachable: dict[str, str] = {}
    for alias in databases:
        seconds_left = max(0.0, deadline - time.monotonic())
        seen, reason = scan.scan(alias, labels=labels, seconds=seconds_left, mode=mode)
        scanned += seen
        if reason:
            unreachable[alias] = reason
    report_unreachable(unreachable, terminal.progress)
    return scanned, max(exit_code(scanned, unreachable), unknown_names(terminal.progress))


def exit_code(scanned: Sequence[Scanned], unreachable: Mapping[str, str]) -> ExitCode:
    """Return the exit code of those scans."""
    codes = [ExitCode.CLEAN]
    if any(row.orphans or row.orphans_of_pass for row in scanned):
        codes.append(ExitCode.FINDINGS)
    if not all(row.complete for row in scanned):
        codes.append(ExitCode.INCOMPLETE)
    if unreachable:
        codes.append(ExitCode.UNREACHABLE)
    if _has_mismatch(row for row in scanned if not row.complete):
        codes.append(ExitCode.BRAKE)
    return max(codes)


def _has_mismatch(scanned: Iterable[Scanned]) -> bool:
    """Return whether a scan was refused because its database belongs to other parents."""
    logs, catalogue = circuit_breaker.answering_logs(), relations.catalogue()
    places = {
        (catalogue.relation(row.relation).parent_databases[0], row.database) for row in scanned
    }
    return any(
        actions.is_refused(database, using=using) for using, database in places if using in logs
    )


def render(document: Mapping[str, Any], terminal: Terminal, *, code: ExitCode, **_: object) -> None:
    """Print a row for each relation and database."""
    every = tuple(field.name for field in dataclasses.fields(scan.Scanned))
    columns = every if terminal.wide else COLUMNS
    nothing = "nothing to do: no relation crosses databases"
    empty = nothing if code is ExitCode.CLEAN else "Nothing was scanned."
    terminal.table(columns, document["relations"], empty=empty)


class ScanProgress:
    """Writes the progress of a scan, once a second.

    There is no line before the first second is over: the rate of fewer rows would be a guess.
    """

    def __init__(self, write: WriteLine) -> None:
        self.write = write
        self.scan = ("", "")
        self.began_at, self.written_at, self.rows_before = 0.0, 0.0, 0

    def __call__(self, scanned: Scanned) -> None:
        """Write the latest figures of a scan, unless the last line is too recent."""
        now = time.monotonic()
        if self.scan != (scanned.relation, scanned.database):
            self.scan = (scanned.relation, scanned.database)
            self.began_at = self.written_at = now
            self.rows_before = scanned.rows_scanned
        if now - self.written_at < PROGRESS_SECONDS:
            return
        rate = (scanned.rows_scanned - self.rows_before) / (now - self.began_at)
        self.written_at = now
        rows = number_of(scanned.rows_scanned, "row")
        self.write(
            f"{scanned.relation} in {scanned.database}: {rows}"
            f"{_speed(scanned, rate)}, {number_of(scanned.orphans, 'orphan')}"
        )


def _speed(scanned: Scanned, rate: float) -> str:
    """Return the rate and the time that is left, in parentheses; "" without a rate. Pure."""
    if rate <= 0:
        return ""
    rows_left = (scanned.expected_rows or 0) - scanned.rows_scanned
    eta = f", {rows_left / rate:,.0f} s left" if rows_left > 0 else ""
    return f" ({rate:,.0f}/s{eta})"
