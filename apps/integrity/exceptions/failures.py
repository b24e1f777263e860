"""One piece of work of several: what it raises ends it alone.

Note [What ends a process]: a receiver of signals may raise SystemExit or GeneratorExit, by mistake
or by `sys.exit()` in a library. That is its failure, and no reason to end the worker. The same
exceptions end a process where a signal handler raised them, which holds the frame that it
interrupted. Others that are no `Exception` pass: Ctrl-C, and how frameworks stop what they run.
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

#: What is no `Exception`, and fails a piece of work all the same.
EXITS = (SystemExit, GeneratorExit, BaseExceptionGroup)
FAILURES = (Exception, *EXITS)


def ends_the_process(raised: BaseException) -> bool:
    """Return whether a signal handler raised it. See Note [What ends a process]."""
    step: TracebackType | None = raised.__traceback__
    while step is not None:
        if _is_handler(step.tb_frame):
            return True
        step = step.tb_next
    return False


def _is_handler(frame: FrameType) -> bool:
    """Return whether the frame was given the frame that it interrupted."""
    values = list(frame.f_locals.values())
    values += [each for value in values if isinstance(value, tuple) for each in value]
    return frame.f_back is not None and any(each is frame.f_back for each in values)


@contextmanager
def isolated(what: str, *, passing: tuple[type[BaseException], ...] = ()) -> Iterator[None]:
    """Log an error of this piece of work, and let the next one begin.

    What ends the process passes, and so does what all pieces have in common: `passing`.
    """
    try:
        yield
    except passing:
        raise
    except FAILURES as error:
        if ends_the_process(error):
            raise
        # Not `exception`: Note [Tracebacks] in plain_logging.py.
        logger.error("%s failed: %s%s", what, error, origin_of(error))  # noqa: TRY400 (quotes rows)
        logger.debug("%s failed", what, exc_info=error)


@contextmanager
def contained() -> Iterator[None]:
    """Around receivers of signals: what would end the process is raised as their failure."""
    try:
        yield
    except Exception:  # also a group of them
        raise
    except EXITS as raised:
        if ends_the_process(raised):
            raise
        raise ReceiverExits(reason_of_error(raised)) from raised
