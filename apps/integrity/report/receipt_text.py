"""What a receipt proves, in sentences. Pure: each says no more than the receipt's own lines."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from ..log.kept import counted
from .receipts import NOT_COVERED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .receipts import Receipt

#: What no receipt covers.
OUTSIDE = (
    "Not covered by any receipt: files, caches, search indexes, backups, logs, other services, and"
    " columns that no relation declares."
)


def conclusion(receipt: Receipt) -> str:
    """Return what is proven, and when it was counted; or that nothing is, and why."""
    deletion = receipt["deletion"]
    state, along = deletion["state"], _along(receipt)
    if state == "verified" and along:
        return f"Counted again at {moment(deletion['verified_at'])}: no row {along} referred to it."
    if state == "verified":
        return "No relation was followed, so no row was looked for."
    if state == "kept":
        return "This is no proof: the value was taken over, so rows that refer to it were left."
    if state == "cancelled":
        return "This is no proof: an operator gave it up."
    return f"This is not proof yet: the deletion is {state}."


def left_alone(receipt: Receipt) -> list[str]:
    """Return a sentence for each relation whose rows a cascade has kept."""
    return [
        f"{counted(line['kept'])} of {line['relation']} in {line['database']} still"
        f" {'refers' if line['kept'] == 1 else 'refer'} to the value; it belongs to another row"
        f" since {moment(line['kept_at'])} or before"
        for line in receipt["scope"]
        if line["kept"] is not None
    ]


def not_covered(receipt: Receipt) -> list[str]:
    """Return a sentence for each relation that the deletion does not cover: why, and what is left.

    The rows are those that refer to the value now, not at the time of the deletion.
    """
    return [
        f"{line['relation']} in {line['database']} is not covered: {line['reason']}{_now(line)}"
        for line in receipt["scope"]
        if line["outcome"] == NOT_COVERED
    ]


def _now(line: Mapping[str, Any]) -> str:
    if (rows := line["rows_now"]) is None:
        return ""
    refer = "refers" if rows in {0, 1} else "refer"
    return f"; {counted(rows) if rows else 'no row'} {refer} to the value now"


def along(line: Mapping[str, Any]) -> str:
    """Return what became of the rows along one relation that was followed."""
    rows = "" if line["rows"] is None else f" {line['rows']:,}"
    policy = f" ({line['policy']})" if line["policy"] else ""
    return f"{line['relation']} in {line['database']}: {line['outcome']}{rows}{policy}"


def issuer(receipt: Receipt) -> str:
    """Return who made the receipt, and when."""
    made = receipt["issued"]
    return f"Issued by {made['by']} {made['version']} at {moment(made['at'])}."


def moment(iso: str | None) -> str:
    """Return a moment of a receipt with its zone, or "not yet"."""
    if iso is None:
        return "not yet"
    return f"{dt.datetime.fromisoformat(iso).astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def _along(receipt: Receipt) -> str:
    """Return the relations that were followed and their databases, in words, or ""."""
    lines = [line for line in receipt["scope"] if line["outcome"] != NOT_COVERED]
    labels = [*dict.fromkeys(line["relation"] for line in lines)]
    databases = [*dict.fromkeys(line["database"] for line in lines)]
    if not lines:
        return ""
    relations = f"along {labels[0]}" if len(labels) == 1 else f"along {len(labels)} relations"
    return f"{relations} in {' and '.join(_some(databases))}"


def _some(names: list[str]) -> Iterator[str]:
    """Yield the names, or how many there are."""
    if len(names) > 2:  # noqa: PLR2004 (a sentence holds two)
        yield f"{len(names)} databases"
    else:
        yield from names
