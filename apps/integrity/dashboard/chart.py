"""A chart of finished deletions as inline SVG: bars, a scale with numbers, and times with zone."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from django.utils import timezone
from django.utils.html import format_html, format_html_join

from .text import number_of, span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.utils.safestring import SafeString

    from ..report.throughput import Throughput

#: The drawing, and the part of it that holds the bars.
WIDTH, HEIGHT = 360, 112
LEFT, RIGHT, TOP, BOTTOM = 44, 352, 10, 84
#: The share of a bar's place that it fills, and the least height of one that is not empty.
FILLED, LEAST = 0.8, 1.5
#: Below this length of the whole, times have seconds.
SECONDS_BELOW = 1_800
#: First digits of the top of a scale.
DIGITS = (1, 2, 3, 4, 6, 8, 10)
THOUSAND, MILLION = 1_000, 1_000_000


def scale(most: float) -> list[int]:
    """Return the marks of a scale from 0 up to at least `most`: whole and round numbers."""
    size = 1
    while size * 10 < most:
        size *= 10
    top = next(size * digit for digit in DIGITS if size * digit >= most)
    return [0, top] if top % 2 else [0, top // 2, top]


def throughput(finished: Throughput) -> SafeString:
    """Return the chart. Its text alternative has the total, the period and the highest bar."""
    marks = scale(max(finished.bars))
    return format_html(
        '<svg class="ix-chart" viewBox="0 0 {} {}" role="img" focusable="false"><title>{}</title>'
        "{}{}{}</svg>",
        WIDTH,
        HEIGHT,
        summary(finished),
        format_html_join(
            "",
            '<path class="ix-grid" d="M{} {}H{}"/><text class="ix-mark" x="{}" y="{}">{}</text>',
            (
                (LEFT, y := f"{_height(mark, marks[-1]):.1f}", RIGHT, LEFT - 6, y, short(mark))
                for mark in marks
            ),
        ),
        format_html_join(
            "",
            '<rect class="ix-bar" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>',
            _bars(finished, marks[-1]),
        ),
        format_html_join(
            "", '<text class="ix-time ix-{}" x="{}" y="{}">{}</text>', _times(finished)
        ),
    )


def summary(finished: Throughput) -> str:
    """Return what the chart shows, in words."""
    number, most = sum(finished.bars), max(finished.bars)
    period = f"within {span(finished.seconds)}, up to {_moment(finished, 1)} {_zone(finished)}"
    if not number:
        return f"No deletion finished {period}"
    return (
        f"{number_of(number, 'deletion')} finished {period}, at most {most:,} per {_each(finished)}"
    )


def unit(finished: Throughput) -> str:
    """Return what a bar counts."""
    return f"Deletions finished per {_each(finished)}"


def _each(finished: Throughput) -> str:
    length = span(finished.seconds / len(finished.bars))
    return "hour" if length == "1 h" else length


def short(number: int) -> str:
    """Return a number in few characters, such as 2.5k."""
    for size, letter in ((MILLION, "M"), (THOUSAND, "k")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return str(number)


def _bars(finished: Throughput, top: int) -> Iterator[tuple[str, ...]]:
    number = len(finished.bars)
    step = (RIGHT - LEFT) / number
    for at, value in enumerate(finished.bars):
        if not value:
            continue
        height = max(BOTTOM - _height(value, top), LEAST)
        place = (LEFT + at * step, BOTTOM - height, step * FILLED, height)
        begins, ends = _moment(finished, at / number), _moment(finished, (at + 1) / number)
        yield *(f"{x:.1f}" for x in place), f"{value:,} from {begins} to {ends} {_zone(finished)}"


def _height(value: float, top: int) -> float:
    return BOTTOM - (BOTTOM - TOP) * value / top


def _times(finished: Throughput) -> Iterator[tuple[str, str, str, str]]:
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        x = LEFT + (RIGHT - LEFT) * share
        last = f" {_zone(finished)}" if anchor == "end" else ""
        yield anchor, f"{x:.1f}", str(BOTTOM + 18), f"{_moment(finished, share)}{last}"


def _at(finished: Throughput, share: float) -> dt.datetime:
    before = dt.timedelta(seconds=finished.seconds * (1 - share))
    return timezone.localtime(finished.until - before)


def _moment(finished: Throughput, share: float) -> str:
    form = "%H:%M:%S" if finished.seconds < SECONDS_BELOW else "%H:%M"
    return _at(finished, share).strftime(form)


def _zone(finished: Throughput) -> str:
    return _at(finished, 1).strftime("%Z")
