"""`manage.py integrity relations | head -1`: a reader that has enough is no error."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The exit code in a shell of a process that SIGPIPE (13) ended, as it ends other commands.
PIPE_CLOSED = 128 + 13


@contextlib.contextmanager
def ends_quietly() -> Iterator[None]:
    """End the process without a word when nobody reads its output any more."""
    try:
        try:
            yield
        finally:
            # What is still buffered is written now: at the end of the process it is too late.
            sys.stdout.flush()
    except BrokenPipeError:
        silence()
        sys.exit(PIPE_CLOSED)


def silence() -> None:
    """Discard what is written from now on to a pipe that nobody reads."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, stream.fileno())
            os.close(devnull)
