"""`integrity purge`: remove log rows that are past their retention."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from ...control import circuit_breaker, retention
from ..backlog import silent_logs
from ..exit_codes import ExitCode
from ..verb import Result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.core.management.base import CommandParser

    from ..terminal import Terminal

HELP = "Remove all log rows that are past their retention. Beat removes a batch each minute."


def add_arguments(_parser: CommandParser) -> None:
    """Add nothing."""


def run(_terminal: Terminal, **_: object) -> Result:
    """Purge each log that answers."""
    counts = Counter[str]()
    for using in circuit_breaker.answering_logs():
        counts.update(retention.purge(using))
    return Result(
        {"purged": dict(counts)}, ExitCode.UNREACHABLE if silent_logs() else ExitCode.CLEAN
    )


def render(document: Mapping[str, Any], terminal: Terminal, **_: object) -> None:
    """Print how many rows were removed, by table."""
    removed = ", ".join(f"{number:,} {name}" for name, number in document["purged"].items())
    terminal.line(f"removed {removed}")
