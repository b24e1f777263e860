"""Isolation of pieces of work: the failure of one does not stop the others.

Note [What ends a process]: a receiver of a signal may raise SystemExit or GeneratorExit, by mistake
or through `sys.exit()` in a library. That is a failure of the receiver, and the worker goes on. If
a handler of an operating system's signal raises them, they end the process: such a handler has the
frame that it interrupted among its arguments. Other exceptions that are no `Exception` always pass:
Ctrl-C, and those by which frameworks stop a task.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from . import ReceiverExits
from .loggers import logger_of, origin_of
from .redaction import reason_of_error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType, TracebackType

logger = logger_of("integrity.isolation")

#: Not subclasses of `Exception`, but failures of a piece of work all the same.
EXITS = (SystemExit, GeneratorExit, BaseExceptionGroup)
FAILURES = (Exception, *EXITS)


def ends_the_process(raised: BaseException) -> bool:
    """Return whether a handler of a signal raised it. See Note [What ends a process]."""
    step: TracebackType | None = raised.__traceback__
    while step is not None:
        if _is_handler(step.tb_frame):
            return True
        step = step.tb_next
    return False


def _is_handler(frame: FrameType) -> bool:
    """Return whether the frame has the frame that it interrupted among its arguments."""
    values = list(frame.f_locals.values())
    values += [item for value in values if isinstance(value, tuple) for item in value]
    return frame.f_back is not None and any(value is frame.f_back for value in values)


@contextmanager
def isolated(what: str, *, passing: tuple[type[BaseException], ...] = ()) -> Iterator[None]:
    """Log an error of this piece of work, so that the next one can begin.

    Exceptions that end the process pass, and so do those in `passing`, which concern all pieces.
    """
    try:
        yield
    except passing:
        raise
    except FAILURES as error:
        if ends_the_process(error):
            raise
        # Not `exception`: see Note [Tracebacks] in loggers.py.
        logger.error("%s failed: %s%s", what, error, origin_of(error))  # noqa: TRY400 (quotes rows)
        logger.debug("%s failed", what, exc_info=error)


@contextmanager
def contained() -> Iterator[None]:
    """Convert exceptions of signal receivers that would end the process to `ReceiverExits`."""
    try:
        yield
    except Exception:  # also a group of them
        raise
    except EXITS as raised:
        if ends_the_process(raised):
            raise
        raise ReceiverExits(reason_of_error(raised)) from raised
