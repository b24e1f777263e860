"""`integrity doctor`: check the installation."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ... import conf
from ...checks import doctor
from ..exit_codes import ExitCode
from ..verb import UNCHANGED, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from django.core.management.base import CommandParser
    from django.core.management.color import Style

    from ..terminal import Terminal

HELP = "Check the installation, and show how to fix what is wrong."
EXAMPLES = {
    "": "a line for each check",
    "--json": "the same for a script; the exit code says how bad it is",
}
INTERRUPTED = UNCHANGED
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
    """Return the state of Celery's broker; None where Celery is not used."""
    if conf.current().notify:
        return None
    try:
        from ...queues import celery_broker
    except ModuleNotFoundError as error:
        if error.name not in {"celery", "kombu"}:
            raise
        return None
    return celery_broker.ask()


def exit_code(checks: Iterable[doctor.Check]) -> ExitCode:
    """Return the exit code of the worst failed check. Pure."""
    codes = (CODES.get(check.kind, ExitCode.FINDINGS) for check in checks if not check.ok)
    return max(codes, default=ExitCode.CLEAN)


def render(document: Mapping[str, Any], terminal: Terminal, **_: object) -> None:
    """Print a line for each check, and how many failed."""
    checks = document["checks"]
    for check in checks:
        mark, paint = _mark(ok=check["ok"], style=terminal.style)
        terminal.line("{mark} {name}: {detail}".format(mark=mark, **check), paint)
    failed = sum(not check["ok"] for check in checks)
    terminal.line(f"{failed} of {len(checks)} checks failed" if failed else "all checks passed")


def _mark(*, ok: bool, style: Style) -> tuple[str, Callable[[str], str]]:
    """Return the first word of a line, and what paints it. Further lines are indented."""
    mark, colour = ("ok", style.SUCCESS) if ok else ("FAIL", style.ERROR)
    return mark, lambda line: line if line[0] == " " else colour(mark) + line[len(mark) :]
