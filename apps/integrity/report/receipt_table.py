"""Receipts as the lines of an export: JSON Lines, or a table of the relations with ids alone."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from ..models import STATED_TEXTS
from . import receipt_text

if TYPE_CHECKING:
    from .receipts import Receipt

#: The columns of the table: a row for each relation and child database of each deletion.
COLUMNS = (
    "log",
    "deletion",
    "parent",
    "key",
    "source",
    "found_along",
    "state",
    "recorded_at",
    "ended_at",
    "database",
    "relation",
    "policy",
    "outcome",
    "rows",
    "rows_exact",
    "rows_kept",
    "done_at",
    "verified_at",
    "reason",
    "actor",
    "reference",
    "because",
    "deadline",
)
#: With these a spreadsheet takes a text for a formula.
FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def json_line(receipt: Receipt) -> str:
    """Return the receipt as a line of JSON. Pure."""
    return f"{json.dumps(receipt_text.document(receipt), ensure_ascii=False)}\n"


def header() -> str:
    """Return the first line of the table."""
    return _csv([COLUMNS])


def csv_lines(receipt: Receipt) -> str:
    """Return the rows of the table for one receipt; one without a relation if it has none. Pure.

    The values of `to_field` keys, which may be names or addresses, are left out.
    """
    deletion = receipt["deletion"]
    cascades = {each["database"]: each for each in receipt["cascades"]}
    common = {
        "log": receipt["log"],
        "deletion": deletion["id"],
        "found_along": deletion["relation"],
        **{name: deletion[name] for name in ("parent", "key", "source", "state")},
        **{name: deletion[name] for name in ("recorded_at", "ended_at", "deadline")},
        **{name: deletion[name] for name in STATED_TEXTS},
    }
    rows = []
    for line in receipt["scope"] or [{"reason": deletion["reason"]}]:
        covered = line.get("rows") is not None
        cascade = cascades.get(line["database"], {}) if covered else {}
        own = {name: cascade.get(name) for name in ("rows_exact", "done_at", "verified_at")}
        why = line["reason"] or cascades.get(line.get("database"), {}).get("reason", "")
        rows.append({**common, **line, **own, "rows_kept": line.get("kept"), "reason": why})
    return _csv([[_cell(row.get(name)) for name in COLUMNS] for row in rows])


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(FORMULAS) and not _is_number(value):
        return f"'{value}"
    return value


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _csv(rows: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
