"""The loggers of this app. Their records are plain text that quotes no rows.

Note [Tracebacks]: a traceback ends with the error's text, which may quote rows, and foreign text
may forge lines of a log. So an error is logged by its class, its code and the lines of code that it
passed through (`origin_of`). Only at the level DEBUG does a record carry the traceback itself.
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
    """The code that an error passed through, on separate lines."""

    __slots__ = ()


def origin_of(error: BaseException) -> Origin:
    """Return the code that `error` passed through, without its text. See Note [Tracebacks]."""
    return Origin("\n" + "".join(traceback.format_tb(error.__traceback__)).rstrip())


class PlainLogger(Adapter):
    """A logger whose records are plain text. See Note [Tracebacks]."""

    def log(self, level: int, msg: object, *args: object, **options: Any) -> None:
        """Log the message if the level is enabled."""
        if not self.isEnabledFor(level):
            return
        if level > logging.DEBUG:
            options.pop("exc_info", None)
        options["stacklevel"] = options.get("stacklevel", 1) + 1
        self.logger.log(level, msg if args else _safe(msg), *map(_safe, args), **options)

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        """Return both unchanged: `log` has processed them."""
        return msg, kwargs


def logger_of(name: str) -> PlainLogger:
    """Return the logger of that name."""
    return PlainLogger(logging.getLogger(name), _NOTHING)


_NOTHING: Mapping[str, object] = {}


def _safe(value: object) -> object:
    if isinstance(value, Origin | int | float):
        return value
    return reason_of_error(value) if isinstance(value, BaseException) else plain(value)
