"""The loggers of this app: what they are given passes through `plain`, and quotes no row.

Note [Tracebacks]: a traceback ends with the error's text, which may quote rows, and foreign text
may forge lines of a log. So an error is logged by its class, its code and the lines of code that it
came through (`origin_of`). Only at the level DEBUG a record carries the traceback itself.
"""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Any

from .redaction import plain, reason_of_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    Adapter = logging.LoggerAdapter[logging.Logger]
else:
    Adapter = logging.LoggerAdapter


class Origin(str):
    """The code that an error came through, on lines of their own."""

    __slots__ = ()


def origin_of(error: BaseException) -> Origin:
    """Return the code that `error` came through, without its text. See Note [Tracebacks]."""
    return Origin("\n" + "".join(traceback.format_tb(error.__traceback__)).rstrip())


class PlainLogger(Adapter):
    """A logger whose records are plain text. See Note [Tracebacks]."""

    def log(self, level: int, msg: object, *args: object, **options: Any) -> None:
        """Log it, if somebody wants that level."""
        if not self.isEnabledFor(level):
            return
        if level > logging.DEBUG:
            options.pop("exc_info", None)
        options["stacklevel"] = options.get("stacklevel", 1) + 1
        self.logger.log(level, msg if args else _told(msg), *map(_told, args), **options)

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        """Return both as they are: `log` has seen to them."""
        return msg, kwargs


def logger_of(name: str) -> PlainLogger:
    """Return the logger of that name."""
    return PlainLogger(logging.getLogger(name), _NOTHING)


_NOTHING: Mapping[str, object] = {}


def _told(value: object) -> object:
    if isinstance(value, Origin | int | float):
        return value
    return reason_of_error(value) if isinstance(value, BaseException) else plain(value)
