"""Messages that are handled in the thread that sends them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


class InlineNotifier:
    """Calls `publish(message)` in the calling thread, for task queues that run tasks at once.

    A notification from within `publish`, for a delete that a task makes, is handled afterwards.
    """

    def __init__(self, publish: Callable[[Any], None]) -> None:
        self._publish = publish
        self._state = threading.local()

    def notify(self, *messages: Hashable) -> None:
        """Do the work now. Raises what the tasks raise, if Celery propagates it."""
        pending: dict[Hashable, None] | None = getattr(self._state, "pending", None)
        if pending is not None:
            pending |= dict.fromkeys(messages)
            return
        self._state.pending = pending = dict.fromkeys(messages)
        try:
            while pending:
                self._publish(pending.popitem()[0])
        finally:
            self._state.pending = None
