"""The work that is left: the backlog of databases, and work under unknown names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import relations
from ..control import circuit_breaker
from ..report import status
from ..report.names import unknown
from .exit_codes import ExitCode

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ..report.rows import DatabaseRow
    from .terminal import WriteLine


def backlog_of(databases: Collection[str]) -> list[DatabaseRow]:
    """Return the backlog and the lag of those child databases."""
    return [row for row in status.collect_status()["databases"] if row["database"] in databases]


def unknown_names(progress: WriteLine) -> ExitCode:
    """Report open work under names that the catalogue does not know. Return the exit code."""
    names = unknown(circuit_breaker.answering_logs())
    for name in names:
        progress(f"{name['name']}: {name['reason']}")
    return ExitCode.FINDINGS if names else ExitCode.CLEAN


def report_unreachable(reasons: Mapping[str, str], progress: WriteLine) -> None:
    """Write a line for each database that cannot be worked on, with the reason."""
    for database, reason in reasons.items():
        progress(f"{database} {reason}")


def silent_logs() -> set[str]:
    """Return the databases whose log cannot be reached."""
    return {*relations.catalogue().log_databases} - {*circuit_breaker.answering_logs()}
