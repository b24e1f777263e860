"""`integrity pause --database D`: stop work on a child database."""

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

HELP = "Stop work on a child database."
EXAMPLES = {
    '--database blog_db --reason "new index, until 18:00"': "deletions are recorded, and wait",
}
INTERRUPTED = AGAIN


def add_arguments(parser: CommandParser) -> None:
    """Add `--database` and `--reason`."""
    add_database_and_reason(parser)


def run(_terminal: Terminal, *, database: str, reason: str, **_: object) -> Result:
    """Pause the database in every log. The audit log records it."""
    catalogue = relations.catalogue()
    alias = catalogue.place(database)
    changed = sum(
        actions.pause(alias, actor=actor(), reason=reason, using=using)
        for using in catalogue.log_databases
    )
    return Result({"changed": changed})


def render(document: Mapping[str, Any], terminal: Terminal, *, database: str, **_: object) -> None:
    """Print whether the database was paused now or before."""
    paused = f"{database}: paused"
    terminal.line(paused if document["changed"] else f"nothing to do: {database} is paused already")
