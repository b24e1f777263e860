"""Rows as a table for people. Every cell is plain text.

Note [What does not fit]: a table that is too wide gets narrower step by step, and no further than
it has to: columns without any text are left out; headings are broken after underscores; sentences,
such as reasons, are written below their row; last, the first column gets a line of its own. No
name, id or number is ever cut, so a line is too long where these alone are.
"""

from __future__ import annotations

import dataclasses
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..exceptions.redaction import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from django.core.management.color import Style

#: The width of tables, unless wide ones are asked for.
WIDTH = 80
GAP = "  "
#: States of rows that need attention.
ATTENTION = {"failing", "hindered", "paused", "unproven"}


def lines(
    columns: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    style: Style,
    *,
    empty: str,
    width: int | None = None,
) -> Iterator[str]:
    """Yield a heading and the lines of each row; `empty` where there are no rows.

    With a `width`, the table is made to fit: Note [What does not fit].
    """
    if not rows:
        yield empty
        return
    texts = [{name: _cell(row[name]) for name in columns} for row in rows]
    layout = _fitted(_Layout(texts, [*columns]), width)
    yield from map(style.MIGRATE_HEADING, layout.heading())
    for row, text in zip(rows, texts, strict=True):
        yield from map(_paint(row, style), layout.lines_of(text, width))


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which columns of the texts stand beside each other, and which below their row. Pure."""

    texts: Sequence[Mapping[str, str]]
    beside: Sequence[str]
    below: Sequence[str] = ()
    broken: bool = False
    #: Whether the first column has a line of its own.
    apart: bool = False

    def width(self) -> int:
        """Return the length of the longest line, without those below a row."""
        return max(len(line) for line in [*self.heading(), *map(self._joined, self.texts)])

    def heading(self) -> Iterator[str]:
        """Yield the lines of the heading."""
        parts = {name: self._heading_of(name) for name in self.beside}
        if self.apart:
            yield from parts.pop(self.beside[0])
        for number in range(max(map(len, parts.values()))):
            yield self._joined(
                {name: "".join(part[number : number + 1]) for name, part in parts.items()}
            )

    def lines_of(self, text: Mapping[str, str], width: int | None) -> Iterator[str]:
        """Yield the lines of a row."""
        if self.apart:
            yield text[self.beside[0]]
        yield self._joined(text)
        for name in self.below:
            if text[name]:
                yield from textwrap.wrap(
                    f"{name}: {text[name]}",
                    width or WIDTH,
                    initial_indent=GAP,
                    subsequent_indent=GAP * 2,
                    break_long_words=False,
                    break_on_hyphens=False,
                )

    def _heading_of(self, name: str) -> list[str]:
        heading = name.upper()
        return heading.replace("_", "_\n").split("\n") if self.broken else [heading]

    def _joined(self, text: Mapping[str, str]) -> str:
        columns = self.beside[1:] if self.apart else self.beside
        padded = (text[name].ljust(self._width_of(name)) for name in columns)
        return (GAP * self.apart + GAP.join(padded)).rstrip()

    def _width_of(self, name: str) -> int:
        return max(map(len, [*self._heading_of(name), *(text[name] for text in self.texts)]))


def _fitted(layout: _Layout, width: int | None) -> _Layout:
    """Return the layout, or a narrower one where it is too wide. Pure."""
    for narrower in STEPS:
        if width is None or layout.width() <= width:
            break
        layout = narrower(layout)
    return layout


def _without_empty(layout: _Layout) -> _Layout:
    filled = [name for name in layout.beside if any(text[name] for text in layout.texts)]
    return dataclasses.replace(layout, beside=filled)


def _with_broken_headings(layout: _Layout) -> _Layout:
    return dataclasses.replace(layout, broken=True)


def _with_sentences_below(layout: _Layout) -> _Layout:
    below = [name for name in layout.beside[1:] if any(" " in text[name] for text in layout.texts)]
    beside = [name for name in layout.beside if name not in below]
    return dataclasses.replace(layout, beside=beside, below=below)


def _with_first_apart(layout: _Layout) -> _Layout:
    return dataclasses.replace(layout, apart=len(layout.beside) > 1)


#: In this order: Note [What does not fit].
STEPS = (_without_empty, _with_broken_headings, _with_sentences_below, _with_first_apart)


def _paint(row: Mapping[str, Any], style: Style) -> Callable[[str], str]:
    """Return the colour of a row that needs attention. Styles have colours on a terminal only."""
    if row.get("blocked") or row.get("brake"):
        return style.ERROR
    return style.WARNING if row.get("state") in ATTENTION else str


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else plain(value)
