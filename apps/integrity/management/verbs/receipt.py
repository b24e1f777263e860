"""`integrity receipt MODEL KEY`: the proof for one deletion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from ...report import receipt_text, unfollowed
from ...report.receipt_lines import NOT_COVERED
from ...report.receipts import receipts_of
from ..exit_codes import ExitCode
from ..options import add_parent
from ..verb import UNCHANGED, Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from django.core.management.base import CommandParser

    from ...report.receipts import Receipt
    from ..terminal import Terminal

#: The moments of a deletion, in their order.
MOMENTS = ("recorded", "cascaded", "verified")

HELP = "Show what the log knows about one deletion."
EXAMPLES = {
    "auth.User 42": "for people",
    "auth.User 42 --json > receipt.json": "to keep it",
}
INTERRUPTED = UNCHANGED


def add_arguments(parser: CommandParser) -> None:
    """Add MODEL and KEY."""
    add_parent(parser)


def run(_terminal: Terminal, *, model: str, key: str, **_: object) -> Result:
    """Return the newest receipt of that key, with the earlier ones."""
    receipts = [unfollowed.count(receipt) for receipt in receipts_of(model, key)]
    if not receipts:
        raise CommandError(
            f"no deletion of {model} {key} is in the log: none was recorded, or it was removed"
            " after its retention"
        )
    newest, *earlier = [receipt_text.document(receipt) for receipt in receipts]
    return Result({**newest, "earlier": earlier}, exit_code(receipts))


def exit_code(receipts: Sequence[Receipt]) -> ExitCode:
    """Return the exit code of receipts: rows that were kept are a finding. Pure."""
    if any(receipt["deletion"]["state"] == "kept" for receipt in receipts):
        return ExitCode.FINDINGS
    return ExitCode.CLEAN if all(map(receipt_text.is_proven, receipts)) else ExitCode.INCOMPLETE


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
    place = f"deletion {deletion['id']} in the log of {receipt['log']}"
    yield f"{deletion['parent']} {key}: {deletion['state']} ({place})"
    conclusion, *remarks = receipt_text.statement(receipt)
    yield f"  {conclusion}"
    for line in receipt["scope"]:
        if line["outcome"] != NOT_COVERED:
            yield f"  {receipt_text.along(line)}"
    yield from (f"  {remark}" for remark in remarks)
    for cascade in receipt["cascades"]:
        reason = f": {cascade['reason']}" if cascade["reason"] else ""
        place = f"{cascade['database']}: {cascade['state']}"
        yield f"  {place}{_times(cascade)}{_attempts(cascade)}{reason}"
    recorded, *later = [f"{name} {receipt_text.moment(deletion[f'{name}_at'])}" for name in MOMENTS]
    by = f"{recorded} by {deletion['source']}"
    yield f"  {', '.join([by, *later])}"
    if said := receipt_text.stated(receipt):
        yield f"  {said}"


def _times(cascade: Mapping[str, Any]) -> str:
    """Return when rows were deleted or changed, and by when its rows were counted again."""
    done, verified = cascade["done_at"], cascade["verified_at"]
    return (f", cascaded at {receipt_text.moment(done)}" if done else "") + (
        f", counted again by {receipt_text.moment(verified)}" if verified else ""
    )


def _attempts(cascade: Mapping[str, Any]) -> str:
    """Return how many attempts an open cascade has had."""
    if (number := cascade["attempts"]) is None:
        return ""
    return f", {number:,} attempt{'s' * (number != 1)}"
