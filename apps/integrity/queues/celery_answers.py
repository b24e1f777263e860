"""Remove passwords from the answers of workers to remote control commands."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from celery.worker.control import Panel

from ..routing import masked

if TYPE_CHECKING:
    from collections.abc import Callable

#: The commands whose answers hold settings or the connection. Celery masks only a part of them.
#: `stats` shows the transport options unmasked, with the password of a Sentinel. `conf` shows the
#: URL in any setting except the broker's and the result backend's.
ANSWERS = ("conf", "dump_conf", "report", "stats")


def mask_answers() -> None:
    """Make the workers of this process answer these commands without passwords."""
    for name in ANSWERS:
        Panel.data[name] = _without_passwords(Panel.data[name])


def _without_passwords(command: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(command)
    def answer(*args: Any, **options: Any) -> Any:
        return masked(command(*args, **options))

    return answer
