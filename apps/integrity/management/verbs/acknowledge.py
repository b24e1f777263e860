"""`integrity acknowledge`: record that somebody has seen the rows that were kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import relations
from ...control import actions
from ..options import add_deletions, named_or_all
from ..verb import PER_DATABASE, Result, actor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.core.management.base import CommandParser

    from ..terminal import Terminal

HELP = "Acknowledge rows that were kept. This ends their alarm."


def add_arguments(parser: CommandParser) -> None:
    """Add the ids of deletions, `--all` and `--reason`."""
    add_deletions(parser, all_help="all deletions that kept rows")
    parser.add_argument(
        "--reason", default="", metavar="TEXT", help="what was found; recorded in the audit log"
    )


def run(
    _terminal: Terminal, *, ids: Sequence[int], everything: bool, reason: str, **_: object
) -> Result:
    """Acknowledge the kept rows. The audit log records it."""
    deletions = named_or_all(ids, everything=everything)
    changed = sum(
        actions.acknowledge(deletions, actor=actor(), reason=reason, using=using)
        for using in relations.catalogue().log_databases
    )
    return Result({"changed": changed})


def render(document: Mapping[str, Any], terminal: Terminal, **_: object) -> None:
    """Print how many deletions changed."""
    if changed := document["changed"]:
        terminal.line(f"rows kept by {changed:,} deletions are acknowledged{PER_DATABASE}")
    else:
        terminal.line("nothing to do: they have kept no rows that are not acknowledged")
