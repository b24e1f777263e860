"""`integrity retry`: try blocked deletions again."""

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

HELP = "Retry blocked deletions; those named by ID, also where they kept rows."


def add_arguments(parser: CommandParser) -> None:
    """Add the ids of deletions, and `--all`."""
    add_deletions(parser, all_help="all blocked deletions")


def run(_terminal: Terminal, *, ids: Sequence[int], everything: bool, **_: object) -> Result:
    """Make the deletions due again. The audit log records it."""
    deletions = named_or_all(ids, everything=everything)
    changed = sum(
        actions.retry(deletions, actor=actor(), using=using, kept=True)
        for using in relations.catalogue().log_databases
    )
    return Result({"changed": changed})


def render(
    document: Mapping[str, Any], terminal: Terminal, *, everything: bool, **_: object
) -> None:
    """Print how many deletions changed."""
    if changed := document["changed"]:
        terminal.line(f"{changed:,} deletions will be tried again{PER_DATABASE}")
    elif everything:
        terminal.line("nothing to do: no deletion is blocked")
    else:
        terminal.line("nothing to do: none of them is blocked or has kept rows")
