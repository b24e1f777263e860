"""`integrity retry`: try blocked cascades again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import relations
from ...control import actions
from ..options import add_deletions, named_or_all
from ..verb import Result, actor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.core.management.base import CommandParser

    from ..terminal import Terminal

HELP = "Retry blocked cascades; for deletions named by ID, also cascades that kept rows."


def add_arguments(parser: CommandParser) -> None:
    """Add the ids of deletions, and `--all`."""
    add_deletions(parser, all_help="all deletions with blocked cascades")


def run(_terminal: Terminal, *, ids: Sequence[int], everything: bool, **_: object) -> Result:
    """Make the cascades due again. The audit log records it."""
    deletions = named_or_all(ids, everything=everything)
    changed = sum(
        actions.retry(deletions, actor=actor(), using=using, kept=True)
        for using in relations.catalogue().log_databases
    )
    return Result({"changed": changed})


def render(document: Mapping[str, Any], terminal: Terminal, **_: object) -> None:
    """Print how many cascades changed."""
    changed = document["changed"]
    why = "" if changed else ": none of them is blocked or kept"
    terminal.line(f"{changed:,} cascades will be tried again{why}")
