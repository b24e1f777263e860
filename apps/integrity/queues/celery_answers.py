"""What a worker tells anyone who may ask it: nothing with a password in it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from celery.worker.control import Panel

from ..routing import masked

if TYPE_CHECKING:
    from collections.abc import Callable

#: The answers that hold settings or the connection. Celery masks a part of them: `stats` has the
#: transport options as they are, with the password of a Sentinel, and `conf` a URL in any setting
#: but the broker's and the result backend's.
ANSWERS = ("conf", "dump_conf", "report", "stats")


def mask_answers() -> None:
    """Let the workers of this process answer these commands without passwords."""
    for name in ANSWERS:
        Panel.data[name] = _without_passwords(Panel.data[name])


def _without_passwords(command: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(command)
    def answer(*args: Any, **options: Any) -> Any:
        return masked(command(*args, **options))

    return answer
