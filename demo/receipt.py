"""Print the receipt of a deleted account."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from . import screen

#: The parent of all deletions of the demo.
MODEL = "auth.User"

if TYPE_CHECKING:
    from apps.integrity.report import receipts


def show(receipt: receipts.Receipt) -> dict[str, float]:
    """Print a receipt; return the seconds of each place that had something to erase."""
    recorded = datetime.fromisoformat(receipt["deletion"]["recorded_at"])
    seconds = {
        cascade["database"]: (datetime.fromisoformat(cascade["done_at"]) - recorded).total_seconds()
        for cascade in receipt["cascades"]
        if cascade["rows"] and cascade["done_at"]
    }
    screen.say(f"The receipt of {MODEL} {receipt['deletion']['key']}:")
    screen.table(
        ("database", "relation", "rows", "done after (s)"),
        (
            (cascade["database"], relation, number, seconds.get(cascade["database"], ""))
            for cascade in receipt["cascades"]
            for relation, number in cascade["rows"].items()
        ),
    )
    return seconds
