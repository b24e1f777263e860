"""Each worker asks for its own queues' work now and then: a dead beat delays, but loses nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import bootsteps

from apps.integrity.routing import CONTROL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Well above beat's period, so that it only matters when beat is silent.
PERIOD_SECONDS = 15.0

#: Soon after the start: what came due while no worker ran must not wait for beat.
FIRST_SECONDS = 1.0


def messages(queues: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Task, arguments and queue of the wake-ups for those queues."""
    for queue in queues:
        control, _, database = queue.partition(".")
        if control == CONTROL:
            task = "integrity.cascade" if database else "integrity.dispatch"
            yield task, (database,) if database else (), queue


class Sweep(bootsteps.StartStopStep):
    """Publishes those wake-ups from the worker's timer, soon after the start and then regularly."""

    requires = ("celery.worker.components:Timer",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.timer_entries: list[Any] = []

    def start(self, parent: Any) -> None:
        """Begin to ask."""
        self.timer_entries = [
            parent.timer.call_after(FIRST_SECONDS, self.ask, (parent,)),
            parent.timer.call_repeatedly(PERIOD_SECONDS, self.ask, (parent,)),
        ]

    def stop(self, parent: Any) -> None:  # noqa: ARG002 (a bootstep's signature)
        """Ask no more."""
        for entry in self.timer_entries:
            entry.cancel()

    terminate = stop

    def ask(self, parent: Any) -> None:
        """Publish a wake-up for each of the worker's queues; the timer logs what goes wrong."""
        for task, arguments, queue in messages(parent.app.amqp.queues.consume_from):
            parent.app.send_task(task, arguments, queue=queue, expires=PERIOD_SECONDS)
