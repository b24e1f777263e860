"""`integrity receipt MODEL KEY`: the proof for one deletion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from ...report.receipts import left_alone, receipts_of
from ..exit_codes import ExitCode
from ..options import add_parent
from ..verb import Result

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

    from ...report.receipts import Receipt
    from ..terminal import Terminal

HELP = "Show what the log knows about one deletion."


def add_arguments(parser: CommandParser) -> None:
    """Add MODEL and KEY."""
    add_parent(parser)


def run(_terminal: Terminal, *, model: str, key: str, **_: object) -> Result:
    """Return the newest receipt of that key, with the earlier ones."""
    receipts = receipts_of(model, key)
    if not receipts:
        raise CommandError(f"no deletion of {model} {key} is in the log")
    newest, *earlier = receipts
    return Result({**newest, "earlier": earlier}, exit_code(newest))


def exit_code(receipt: Receipt) -> ExitCode:
    """Return the exit code of a receipt: rows that were kept are a finding. Pure."""
    return ExitCode.FINDINGS if receipt["deletion"]["state"] == "kept" else ExitCode.CLEAN


def render(document: Receipt, terminal: Terminal, *, key: str, **_: Any) -> None:
    """Print the deletion, its cascades, and the rows that were kept."""
    deletion = document["deletion"]
    terminal.line(f"{deletion['parent']} {key}: {deletion['state']}")
    for cascade in document["cascades"]:
        rows = ", ".join(f"{n:,} {label}" for label, n in cascade["rows"].items()) or "no rows"
        terminal.line(f"  {cascade['database']}: {cascade['state']}, {rows}")
    for sentence in left_alone(document):
        terminal.line(f"  {sentence}")
