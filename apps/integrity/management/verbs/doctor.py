"""`integrity doctor`: check the installation."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ...checks import doctor
from ..exit_codes import ExitCode
from ..terminal import printable
from ..verb import Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from django.core.management.base import CommandParser

    from ..terminal import Terminal

HELP = "Check the installation, and show how to fix what is wrong."
#: Kinds of checks whose failure is worse than a finding.
CODES = {
    "database": ExitCode.UNREACHABLE,
    "brake": ExitCode.BRAKE,
    "identity": ExitCode.BRAKE,
}


def add_arguments(_parser: CommandParser) -> None:
    """Add nothing."""


def run(_terminal: Terminal, **_: object) -> Result:
    """Examine databases, broker, workers and beat."""
    checks = doctor.examine(broker())
    return Result({"checks": [dataclasses.asdict(check) for check in checks]}, exit_code(checks))


def broker() -> doctor.Broker | None:
    """Return the state of the broker; None where Celery is not installed."""
    try:
        from ...queues import celery
    except ModuleNotFoundError as error:
        if error.name not in {"celery", "kombu"}:
            raise
        return None
    return celery.ask_broker()


def exit_code(checks: Iterable[doctor.Check]) -> ExitCode:
    """Return the exit code of the worst failed check. Pure."""
    codes = (CODES.get(check.kind, ExitCode.FINDINGS) for check in checks if not check.ok)
    return max(codes, default=ExitCode.CLEAN)


def render(document: Mapping[str, Any], terminal: Terminal, **_: object) -> None:
    """Print a line for each check."""
    for check in document["checks"]:
        style = terminal.style
        verdict = style.SUCCESS("ok  ") if check["ok"] else style.ERROR("FAIL")
        detail = printable("{name}: {detail}".format(**check))
        terminal.text(f"{verdict}  {detail}")
