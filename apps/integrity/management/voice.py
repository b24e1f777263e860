"""What a command says: its progress on stderr, and what the engine logs meanwhile.

Whatever it says is plain text: names, keys and reasons of others may hold codes that steer a
terminal.

Note [One voice]: where a project gives this app's log no handler, Python's last resort prints each
warning besides what the command tells of the same. So a command takes them, and says a line once.
Where the project has a handler, the log goes there, and the command tells its own.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING

from ..isolation.redaction import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Tell = Callable[[str], object]

#: The log of this app.
LOGGER = logging.getLogger("integrity")
#: The most characters of a line: reasons of several databases may stand in one.
LINE_CHARS = 4_000
#: What the log repeats within this time is not said again.
AGAIN_SECONDS = 60.0


def shown(line: str) -> str:
    """Return one line as a terminal may show it, its indentation kept."""
    words = line.lstrip(" ")
    return " " * (len(line) - len(words)) + plain(words, LINE_CHARS)


class Voice(logging.Handler):
    """Says what it is told and what it finds in the log, but not the same twice: Note [One voice].

    A command may run for months, so it forgets.
    """

    def __init__(self, write: Tell) -> None:
        super().__init__(logging.WARNING)
        self.write = write
        self.heard: dict[str, float] = {}

    def __call__(self, line: str) -> None:
        """Say what the command tells, unless the log has just said it."""
        if not self._was_heard(line):
            self.write(shown(line))

    def emit(self, record: logging.LogRecord) -> None:
        """Say a line of the log, unless it has just said it."""
        line = self.format(record)
        if not self._was_heard(line):
            self.heard[line] = time.monotonic()
            self.write("\n".join(map(shown, line.splitlines())))

    def _was_heard(self, line: str) -> bool:
        long_ago = time.monotonic() - AGAIN_SECONDS
        self.heard = {said: at for said, at in self.heard.items() if at > long_ago}
        return line in self.heard


@contextlib.contextmanager
def one_voice(write: Tell) -> Iterator[Voice]:
    """How a command tells, for the length of a block."""
    voice, heard = Voice(write), LOGGER.hasHandlers()
    if not heard:
        LOGGER.addHandler(voice)
    try:
        yield voice
    finally:
        LOGGER.removeHandler(voice)
