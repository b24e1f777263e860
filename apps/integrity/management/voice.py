"""What a command says on stderr: its progress, and what the engine logs meanwhile.

Note [One voice]: where a project gives this app's log no handler, Python's last resort prints each
warning, besides what the command tells of the same. So a command takes them, and says a line once.
Where the project has a handler, the log goes there, and the command tells its own.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Tell = Callable[[str], object]

#: The log of this app.
LOGGER = logging.getLogger("integrity")
#: A command that runs on may say the same line again after so long.
AGAIN_SECONDS = 60.0


class Voice(logging.Handler):
    """Says what it is told, or finds in the log, each line once. See Note [One voice]."""

    def __init__(self, write: Tell) -> None:
        super().__init__(logging.WARNING)
        self.write = write
        self.said: dict[str, float] = {}

    def __call__(self, line: str) -> None:
        """Say it, unless it was said a moment ago."""
        now = time.monotonic()
        if now - self.said.get(line, -AGAIN_SECONDS) >= AGAIN_SECONDS:
            self.said[line] = now
            self.write(line)

    def emit(self, record: logging.LogRecord) -> None:
        """Say a line of the log."""
        self(self.format(record))


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
