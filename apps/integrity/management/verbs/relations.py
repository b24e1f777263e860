"""`integrity relations`: the catalogue."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from ...exceptions import DatabaseUnreachable
from ...report import catalogue
from ...report.scans import scan_rows
from ..exit_codes import usage_error
from ..mermaid import flowchart
from ..verb import UNCHANGED, Result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.core.management.base import CommandParser

    from ...report.catalogue import RelationRow
    from ..terminal import Terminal

HELP = "List every foreign key between databases."
EXAMPLES = {
    "": "a table",
    "--format mermaid": "a chart",
}
INTERRUPTED = UNCHANGED
COLUMNS = ("relation", "child_database", "parent", "parent_database", "policy", "plan")


def add_arguments(parser: CommandParser) -> None:
    """Add `--format`."""
    parser.add_argument(
        "--format",
        dest="form",
        choices=("table", "mermaid"),
        default="table",
        help="mermaid prints a flowchart that code hosts render in Markdown",
    )


def run(_terminal: Terminal, *, form: str, json: bool, **_: object) -> Result:
    """Return the relations; for a table, with the time of their last full scan."""
    if json and form != "table":
        raise usage_error("--json or --format, not both")
    rows = catalogue.relation_rows()
    if form == "table":
        _add_scans(rows)
    return Result({"relations": rows})


def _add_scans(rows: Sequence[RelationRow]) -> None:
    """Add the end of the last full scan to each row, if every log answers."""
    with contextlib.suppress(DatabaseUnreachable):
        scans = {(scan["relation"], scan["database"]): scan for scan in scan_rows()}
        for row in rows:
            if scan := scans.get((row["relation"], row["child_database"])):  # else it is ignored
                row["last_full_scan"] = scan["last_full_scan"]


def render(document: Mapping[str, Any], terminal: Terminal, *, form: str, **_: object) -> None:
    """Print a table, or a chart in Mermaid."""
    if form == "mermaid":
        terminal.text(flowchart(document["relations"]))
    else:
        terminal.table(COLUMNS, document["relations"], empty="No relation crosses databases.")
