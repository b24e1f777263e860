"""Where a verb writes text for people: results to stdout, progress to stderr.

Names, keys and reasons come from outside and may hold control codes of a terminal. So every line
and every cell is made printable first.

Note [Eighty columns]: unless `--wide` is given, results are broken at spaces to fit 80 columns,
wherever they go. What goes to stderr is broken only on a terminal: in a log of `drain --forever`,
each event stays one line. SQL, charts and JSON are for programs, and never broken.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from ..exceptions.redaction import plain
from . import table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from django.core.management.base import OutputWrapper
    from django.core.management.color import Style

    WriteLine = Callable[[str], object]

#: The maximum length of a line, which may hold the reasons of several databases.
LINE_CHARS = 4_000
#: Clears a terminal and moves the cursor to its first line.
CLEAR = "\033[2J\033[H"


def printable(line: str) -> str:
    """Return the line without control codes and of bounded length, its indentation kept."""
    text = line.lstrip(" ")
    return " " * (len(line) - len(text)) + plain(text, LINE_CHARS)


def wrapped(text: str, width: int = table.WIDTH) -> str:
    """Return the text with each line broken at spaces; what follows a break is indented. Pure.

    A word is never cut: it may be a name or a part of a command to copy.
    """
    return "\n".join(
        part
        for line in text.split("\n")
        for part in textwrap.wrap(
            line,
            width,
            subsequent_indent=" " * (len(line) - len(line.lstrip(" "))) + table.GAP,
            break_long_words=False,
            break_on_hyphens=False,
        )
        or [""]
    )


class Terminal:
    """Results go to `line`, `text` and `table`; `progress` writes a line to stderr.

    `is_watched` says whether stderr is a terminal: else nobody reads how far the work is.
    """

    def __init__(
        self,
        stdout: OutputWrapper,
        style: Style,
        progress: WriteLine,
        *,
        wide: bool = False,
        is_watched: bool = False,
    ) -> None:
        self.stdout, self.style, self.progress = stdout, style, progress
        self.wide, self.is_watched = wide, is_watched

    def line(self, line: str, paint: Callable[[str], str] = str) -> None:
        """Make a line printable, and write it in the colour of `paint`."""
        text = printable(line)
        for part in (text if self.wide else wrapped(text)).split("\n"):
            self.stdout.write(paint(part))

    def text(self, text: str) -> None:
        """Write text of this app unchanged: SQL or a chart, of several lines."""
        self.stdout.write(text)

    def table(
        self, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], *, empty: str
    ) -> None:
        """Write those columns of the rows; write the line `empty` where there are no rows."""
        width = None if self.wide else table.WIDTH
        for line in table.lines(columns, rows, self.style, empty=empty, width=width):
            self.stdout.write(line)

    def clear(self) -> None:
        """Clear the screen."""
        self.stdout.write(CLEAR, ending="")
