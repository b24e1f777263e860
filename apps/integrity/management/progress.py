"""Progress lines on stderr, merged with what the engine logs while a command runs.

Note [One line for one event]: where a project gives this app's log no handler, Python's handler of
last resort prints each warning to stderr, beside the progress line about the same event. So a
command handles the log itself while it runs, and prints each line once. Where the project has a
handler, the log goes there, and the command prints its progress lines only.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING

from .broken_pipe import silence
from .terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .terminal import WriteLine

#: The log of this app.
LOGGER = logging.getLogger("integrity")
#: A log line that is repeated within this time is printed once.
REPEAT_SECONDS = 60.0


class ProgressLines(logging.Handler):
    """Writes progress and log lines, the same event once: Note [One line for one event].

    It forgets what is older than `REPEAT_SECONDS`, since a command may run for months.
    """

    def __init__(self, write: WriteLine) -> None:
        super().__init__(logging.WARNING)
        self.write = write
        self.logged_at: dict[str, float] = {}

    def __call__(self, line: str) -> None:
        """Write a progress line, unless the same line was just logged."""
        if not self._was_logged(line):
            self._write(printable(line))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a log line, unless the same line was just logged."""
        text = self.format(record)
        if not self._was_logged(text):
            self.logged_at[text] = time.monotonic()
            self._write("\n".join(map(printable, text.splitlines())))

    def _write(self, text: str) -> None:
        """Write, if somebody still reads. Nobody's leaving may be taken for a failure of work."""
        try:
            self.write(text)
        except BrokenPipeError:
            silence()

    def _was_logged(self, line: str) -> bool:
        oldest = time.monotonic() - REPEAT_SECONDS
        self.logged_at = {text: at for text, at in self.logged_at.items() if at > oldest}
        return line in self.logged_at


@contextlib.contextmanager
def progress_lines(write: WriteLine) -> Iterator[ProgressLines]:
    """Handle the log within the block, where the project has no handler for it."""
    progress, has_handler = ProgressLines(write), LOGGER.hasHandlers()
    if not has_handler:
        LOGGER.addHandler(progress)
    try:
        yield progress
    finally:
        LOGGER.removeHandler(progress)
