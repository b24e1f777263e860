"""Rows as a table for people. Every cell is plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..exceptions.redaction import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from django.core.management.color import Style


def lines(
    columns: Sequence[str], rows: Sequence[Mapping[str, Any]], style: Style, *, empty: str
) -> Iterator[str]:
    """Yield a heading and a line for each row; `empty` where there are no rows."""
    if not rows:
        yield empty
        return
    cells = [[name.upper() for name in columns]]
    cells += [[_cell(row[name]) for name in columns] for row in rows]
    widths = [max(len(line[at]) for line in cells) for at in range(len(columns))]
    paints = [style.MIGRATE_HEADING, *(_paint(row, style) for row in rows)]
    for line, paint in zip(cells, paints, strict=True):
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        yield paint("  ".join(padded).rstrip())


def _paint(row: Mapping[str, Any], style: Style) -> Callable[[str], str]:
    """Return the colour of a row that needs attention. Styles have colours on a terminal only."""
    if row.get("blocked") or row.get("brake"):
        return style.ERROR
    return style.WARNING if row.get("state") == "waiting" else str


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else plain(value)
