"""Figures → inline SVG. Colours come from the stylesheet, by class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe

from ..report import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.utils.safestring import SafeString

    from ..report.catalogue import RelationRow

#: One shape for each look of a state, so that no one has to tell colours apart.
_SHAPES = {
    "good": '<circle cx="6" cy="6" r="6"/><path class="ix-cut" d="M3 6.2 5.2 8.4 9 4"/>',
    "busy": '<circle cx="6" cy="6" r="5" class="ix-ring"/><path d="M6 1a5 5 0 0 1 0 10Z"/>',
    "attention": '<path d="M6 0 12 11.5H0Z"/><path class="ix-cut" d="M6 4V7.4M6 9V10"/>',
    "trouble": '<path d="M0 0H12V12H0Z"/><path class="ix-cut" d="M3.5 3.5l5 5m0-5l-5 5"/>',
    "calm": '<circle cx="6" cy="6" r="5" class="ix-ring"/>',
}
#: Of the picture of relations: a line of text, and the columns.
_LINE, _LEFT, _GAP = 22, 8, 160
#: The least width of a box, and of a character of the longest label.
_BOX, _CHARACTER = 200, 7.5


def shape(look: str) -> SafeString:
    """Return the shape of a state, to stand beside its word."""
    return format_html(
        '<svg class="ix-shape" viewBox="0 0 12 12" aria-hidden="true" focusable="false">{}</svg>',
        mark_safe(_SHAPES[look]),  # noqa: S308 (constants of this file)
    )


def bar(share: float | None) -> SafeString:
    """Return a bar for a share of a whole, with the figure; a dash if it is unknown."""
    if share is None:
        return format_html('<span class="ix-quiet">{}</span>', "unknown")
    return format_html(
        '<span class="ix-share"><svg viewBox="0 0 100 8" preserveAspectRatio="none"'
        ' aria-hidden="true" focusable="false"><rect class="ix-track" width="100" height="8"/>'
        '<rect class="ix-bar" width="{}" height="8"/></svg>{}</span>',
        f"{100 * share:.1f}",
        f"{share:.0%}",
    )


def relation_map(rows: Sequence[RelationRow]) -> SafeString:
    """Return a map: parents' databases left, children's right, a line for each relation."""
    parents, children = catalogue.columns(rows)
    ends = {place[:2]: place[2] for place in _places(parents)}
    begins = {place[:2]: place[2] for place in _places(children)}
    wide, wide_right = _width(parents), _width(children)
    right = _LEFT + wide + _GAP
    lines = [
        (
            row["policy"].lower().replace("_", "-"),
            _curve(
                (_LEFT + wide, ends[row["parent_database"], row["parent"]]),
                (right, begins[row["child_database"], row["relation"]]),
            ),
        )
        for row in rows
    ]
    height = max(_height(parents), _height(children))
    return format_html(
        '<svg class="ix-map" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img"'
        ' aria-label="{label}">{lines}{left}{right}</svg>',
        w=right + wide_right + _LEFT,
        h=height,
        label=f"{len(rows)} relations between databases; the table below names each",
        lines=format_html_join("", '<path class="ix-line ix-line-{}" d="{}"/>', lines),
        left=_boxes(parents, _LEFT, wide),
        right=_boxes(children, right, wide_right),
    )


def _places(column: dict[str, list[str]]) -> Iterable[tuple[str, str, float]]:
    """Yield each database and label, with the height at which its line ends."""
    top = 8.0
    for database, labels in column.items():
        for at, label in enumerate(labels):
            yield database, label, top + _LINE * (at + 1.9)
        top += _box_height(labels) + 12


def _width(column: dict[str, list[str]]) -> int:
    """Return the width of boxes that hold the longest label."""
    longest = max(len(text) for database, labels in column.items() for text in (database, *labels))
    return max(_BOX, int(24 + longest * _CHARACTER))


def _height(column: dict[str, list[str]]) -> int:
    return int(8 + sum(_box_height(labels) + 12 for labels in column.values()))


def _box_height(labels: list[str]) -> float:
    return _LINE * (len(labels) + 1.6)


def _boxes(column: dict[str, list[str]], left: float, width: float) -> SafeString:
    boxes, top = [], 8.0
    heights = {place[:2]: place[2] for place in _places(column)}
    for database, labels in column.items():
        texts = format_html_join(
            "",
            '<text x="{}" y="{}">{}</text>',
            [(left + 12, heights[database, label] + 4, label) for label in labels],
        )
        boxes.append(
            (left, top, width, _box_height(labels), left + 12, top + _LINE, database, texts)
        )
        top += _box_height(labels) + 12
    return format_html_join(
        "",
        '<rect class="ix-box" x="{}" y="{}" width="{}" height="{}" rx="4"/>'
        '<text class="ix-name" x="{}" y="{}">{}</text>{}',
        boxes,
    )


def _curve(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x, y), (to_x, to_y) = start, end
    half = (to_x - x) / 2
    return f"M{x} {y:.1f}C{x + half} {y:.1f} {to_x - half} {to_y:.1f} {to_x} {to_y:.1f}"
