"""Each worker asks for its own queues' work now and then: a dead beat delays, but loses nothing."""

from __future__ import annotations

from typing import Any

from celery import bootsteps

from apps.integrity.routing import CONTROL

#: Well above beat's period, so that it only matters when beat is silent.
PERIOD_SECONDS = 15.0

#: Soon after the start: what came due while no worker ran must not wait for beat.
FIRST_SECONDS = 1.0


def publish(queue: str) -> None:
    """Publish a wake-up for what that queue is about, unless enough of them wait there.

    Without an expiry: that would be a moment by this machine's clock.
    """
    from apps.integrity import relations, tasks  # models, which are there once Celery has begun

    control, _, database = queue.partition(".")
    if control != CONTROL:
        return
    if database:
        tasks.publish_cascade(database)
    else:
        for using in relations.log_databases():
            tasks.publish_dispatch(using)


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
        for queue in parent.app.amqp.queues.consume_from:
            publish(queue)
