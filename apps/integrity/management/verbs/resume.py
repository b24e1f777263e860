"""`integrity resume --database D`: resume work on a child database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import relations
from ...control import actions
from ..options import add_database_and_reason
from ..verb import AGAIN, Result, actor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.core.management.base import CommandParser

    from ..terminal import Terminal

HELP = "Resume work on a child database."
EXAMPLES = {
    "--database blog_db": "go on after a pause",
    "--database blog_db --accept-restore": "go on after a backup was restored",
}
INTERRUPTED = AGAIN


def add_arguments(parser: CommandParser) -> None:
    """Add `--database`, `--reason`, `--accept-identity` and `--accept-restore`."""
    add_database_and_reason(parser)
    parser.add_argument(
        "--accept-identity",
        action="store_true",
        help="if the database belonged to other parents' databases, accept the present ones from"
        " now on; recorded in the audit log",
    )
    parser.add_argument(
        "--accept-restore",
        action="store_true",
        help="if the database or its log was restored from a backup, go on with both as they are;"
        " recorded in the audit log",
    )


def run(
    _terminal: Terminal,
    *,
    database: str,
    reason: str,
    accept_identity: bool,
    accept_restore: bool,
    **_: object,
) -> Result:
    """Resume the database in every log. The audit log records it."""
    catalogue = relations.catalogue()
    accepts = accept_identity or accept_restore
    alias = catalogue.database(database) if accepts else catalogue.place(database)
    changed = sum(
        actions.resume(
            alias,
            actor=actor(),
            reason=reason,
            using=using,
            accept_identity=accept_identity,
            accept_restore=accept_restore,
        )
        for using in catalogue.log_databases
    )
    return Result({"changed": changed})


def render(document: Mapping[str, Any], terminal: Terminal, *, database: str, **_: object) -> None:
    """Print whether the database was paused before, or something was accepted."""
    resumed = f"{database}: resumed"
    nothing = f"nothing to do: {database} was not paused"
    terminal.line(resumed if document["changed"] else nothing)
