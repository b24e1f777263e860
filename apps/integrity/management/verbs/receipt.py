"""`integrity receipt MODEL KEY`: the proof for one deletion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from ...report import receipt_text, unfollowed
from ...report.receipts import NOT_COVERED, receipts_of
from ..exit_codes import ExitCode
from ..options import add_parent
from ..verb import Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from django.core.management.base import CommandParser

    from ...report.receipts import Receipt
    from ..terminal import Terminal

#: The moments of a deletion, in their order.
MOMENTS = ("recorded", "cascaded", "verified")

HELP = "Show what the log knows about one deletion."


def add_arguments(parser: CommandParser) -> None:
    """Add MODEL and KEY."""
    add_parent(parser)


def run(_terminal: Terminal, *, model: str, key: str, **_: object) -> Result:
    """Return the newest receipt of that key, with the earlier ones."""
    receipts = [unfollowed.count(receipt) for receipt in receipts_of(model, key)]
    if not receipts:
        raise CommandError(f"no deletion of {model} {key} is in the log")
    newest, *earlier = receipts
    return Result({**newest, "earlier": earlier}, exit_code(receipts))


def exit_code(receipts: Sequence[Receipt]) -> ExitCode:
    """Return the exit code of receipts: rows that were kept are a finding. Pure."""
    states = {receipt["deletion"]["state"] for receipt in receipts}
    if "kept" in states:
        return ExitCode.FINDINGS
    return ExitCode.CLEAN if states == {"verified"} else ExitCode.INCOMPLETE


def render(document: Any, terminal: Terminal, *, key: str, **_: Any) -> None:
    """Print each deletion of the key, the newest first, and what its receipt proves."""
    for receipt in (document, *document["earlier"]):
        for line in lines(receipt, key):
            terminal.line(line)
    terminal.line(receipt_text.OUTSIDE)
    terminal.line(receipt_text.issuer(document))


def lines(receipt: Receipt, key: str) -> Iterator[str]:
    """Yield the lines of one receipt. Pure."""
    deletion = receipt["deletion"]
    yield f"{deletion['parent']} {key}: {deletion['state']}"
    yield f"  {receipt_text.conclusion(receipt)}"
    for line in receipt["scope"]:
        if line["outcome"] != NOT_COVERED:
            yield f"  {receipt_text.along(line)}"
    for sentence in (*receipt_text.left_alone(receipt), *receipt_text.not_covered(receipt)):
        yield f"  {sentence}"
    for cascade in receipt["cascades"]:
        reason = f": {cascade['reason']}" if cascade["reason"] else ""
        yield f"  {cascade['database']}: {cascade['state']}, {_attempts(cascade)}{reason}"
    moments = [f"{name} {receipt_text.moment(deletion[f'{name}_at'])}" for name in MOMENTS]
    yield f"  {', '.join(moments)}, by {deletion['source']}"


def _attempts(cascade: Mapping[str, Any]) -> str:
    """Return the attempts of a cascade, and whether its rows are all that were changed."""
    number = cascade["attempts"]
    attempts = f"{number:,} attempt{'s' * (number != 1)}"
    return attempts if cascade["rows_exact"] else f"{attempts}, the rows are at least those"
