"""`integrity install-triggers`: the triggers that record deletions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...capture import triggers
from ...exceptions import UnknownName
from ..exit_codes import ExitCode
from ..options import add_database
from ..verb import Result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.core.management.base import CommandParser

    from ..terminal import Terminal

HELP = "Install, replace and remove the triggers that record deletions, as the settings say."
EXAMPLES = {
    "--dry-run": "print the SQL",
    "": "install them in every database",
    "--database default": "in one database",
}
INTERRUPTED = (
    "each table has either its old triggers or its new ones. Run the command again: it changes only"
    " what is left"
)


def add_arguments(parser: CommandParser) -> None:
    """Add `--database` and `--dry-run`."""
    add_database(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the SQL and change nothing")


def run(terminal: Terminal, *, database: str | None, dry_run: bool, **_: object) -> Result:
    """Install and remove triggers. A table that stays locked is not changed."""
    known = triggers.databases()
    if database is not None and database not in known:
        raise UnknownName("PostgreSQL database with a deletion log", database, known)
    changes = [
        triggers.change(using) if dry_run else triggers.install(using, tell=terminal.progress)
        for using in ([database] if database else known)
    ]
    for change in changes:
        for held in change.held:
            terminal.progress(f"{change.database}: {held}")
    code = ExitCode.INCOMPLETE if any(change.held for change in changes) else ExitCode.CLEAN
    document = {"databases": [change.document for change in changes], "applied": not dry_run}
    return Result(document, code)


def render(document: Mapping[str, Any], terminal: Terminal, *, dry_run: bool, **_: object) -> None:
    """Print the SQL of a dry run; report on stderr how many triggers change."""
    if not document["databases"]:
        terminal.progress("nothing to do: no PostgreSQL database holds a deletion log")
    for change in document["databases"]:
        if dry_run:
            terminal.text("\n".join(f"{statement};" for statement in change["sql"]))
        if not change["held"]:
            terminal.progress(f"{change['database']}: {_counts(change, dry_run=dry_run)}")


def _counts(change: Mapping[str, Any], *, dry_run: bool) -> str:
    """Return how many triggers change, or that none does. Pure."""
    if not (change["installed"] or change["removed"]):
        if change["unchanged"]:
            return f"nothing to do: {len(change['unchanged'])} triggers are as in the settings"
        return "nothing to do: the settings ask for no trigger (INTEGRITY['capture'])"
    counts = ", ".join(
        f"{len(change[name])} {name}" for name in ("installed", "removed", "unchanged")
    )
    return f"{'would be ' * dry_run}{counts}"
