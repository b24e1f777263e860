"""The worker's side of `workers.health`: its main process touches a file while its loop turns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import bootsteps

from . import health

if TYPE_CHECKING:
    from pathlib import Path


class Liveness(bootsteps.StartStopStep):
    """Touches the file from the worker's own timer, and removes it at a clean stop."""

    requires = ("celery.worker.components:Timer",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.timer_entry: Any = None

    def start(self, parent: Any) -> None:
        """Begin to show that the worker is alive."""
        file = _file(parent)
        file.touch()
        self.timer_entry = parent.timer.call_repeatedly(health.PERIOD_SECONDS, file.touch)

    def stop(self, parent: Any) -> None:
        """Say that it is not."""
        if self.timer_entry is not None:
            self.timer_entry.cancel()
        _file(parent).unlink(missing_ok=True)

    # A cold shutdown terminates the steps instead of stopping them.
    terminate = stop


def _file(worker: Any) -> Path:
    name: str = worker.hostname
    return health.alive_file(name.partition("@")[0])
