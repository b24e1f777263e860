"""Steps of a worker: they look after it by its own timer, while its loop turns."""

from __future__ import annotations

from typing import Any

from celery import bootsteps
from celery.worker import state

from ...exceptions.loggers import logger_of
from ...routing import CONTROL
from .. import health
from .consumer import Guard

logger = logger_of("integrity.celery_worker")

#: Celery's own period is 5 s.
CHILDREN_SECONDS = 1.0
PLACES_SECONDS = 5.0

#: Well above beat's period, so that it only matters when beat is silent.
SWEEP_SECONDS = 15.0
#: Soon after the start: what came due while no worker ran must not wait for beat.
SWEEP_FIRST_SECONDS = 1.0


class Regularly(bootsteps.StartStopStep):
    """A step that does something every `seconds`, by the worker's timer."""

    requires = ("celery.worker.components:Timer", "celery.worker.components:Pool")
    seconds = 0.0
    first_seconds: float | None = None

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.timer_entries: list[Any] = []

    def start(self, parent: Any) -> None:
        """Begin."""
        timer = parent.timer
        if self.first_seconds is not None:
            self.timer_entries.append(timer.call_after(self.first_seconds, self.act, (parent,)))
        self.timer_entries.append(timer.call_repeatedly(self.seconds, self.act, (parent,)))

    def stop(self, parent: Any) -> None:  # noqa: ARG002 (a bootstep's signature)
        """End."""
        while self.timer_entries:
            self.timer_entries.pop().cancel()

    # A cold shutdown terminates the steps instead of stopping them.
    terminate = stop

    def act(self, parent: Any) -> None:
        """Called regularly; the timer logs what goes wrong."""
        raise NotImplementedError


class Liveness(Regularly):
    """Touches the file that the probe `queues.health` looks at; a clean stop removes it."""

    seconds = health.PERIOD_SECONDS

    def start(self, parent: Any) -> None:
        """Begin to show that the worker is alive."""
        self.act(parent)
        super().start(parent)

    def stop(self, parent: Any) -> None:
        """Show that it is not."""
        super().stop(parent)
        health.alive_file(_name(parent)).unlink(missing_ok=True)

    terminate = stop

    def act(self, parent: Any) -> None:
        """Touch the file."""
        try:
            health.touch(_name(parent))
        except OSError as error:
            logger.warning("the file for the liveness probe cannot be written: %s", error)


def _name(worker: Any) -> str:
    name: str = worker.hostname
    return name.partition("@")[0]


class Sweep(Regularly):
    """Asks for the work of the worker's own queues: a dead beat delays, but loses nothing."""

    seconds = SWEEP_SECONDS
    first_seconds = SWEEP_FIRST_SECONDS

    def act(self, parent: Any) -> None:
        """Publish a wake-up for each of the worker's queues."""
        for queue in parent.app.amqp.queues.consume_from:
            publish(queue)


def publish(queue: str) -> None:
    """Publish a wake-up for what that queue is about, unless enough of them wait there.

    Without an expiry: that would be a moment by this machine's clock.
    """
    from ... import relations  # models, which are there once Celery has begun
    from .. import celery  # models, which are there once Celery has begun

    control, _, database = queue.partition(".")
    if control != CONTROL:
        return
    if database:
        celery.publish_cascade(database)
    else:
        for using in relations.log_databases():
            celery.publish_dispatch(using)


class Children(Regularly):
    """Notices a killed child soon, so that its task is taken over soon."""

    seconds = CHILDREN_SECONDS

    def act(self, parent: Any) -> None:
        """Look after the pool's processes, where it has some."""
        maintain = getattr(getattr(parent.pool, "_pool", None), "maintain_pool", None)
        if maintain is not None:
            maintain()


class Places(Regularly):
    """Connects anew when a message holds a place of the prefetch limit and no task runs for it.

    Celery logs an acknowledgement that fails (a connection that fell silent) and goes on, and the
    message keeps its place. After as many failures as there are places, the worker would fetch
    nothing any more. What is held at two looks in a row, by no request, is such a message. Only the
    channels for Redis tell what they hold; other brokers give a lost message out again themselves.
    """

    seconds = PLACES_SECONDS

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.suspects: set[Any] = set()

    def act(self, parent: Any) -> None:
        """Raises `OSError`, upon which Celery connects anew and the broker gives them out again."""
        channel = getattr(getattr(parent.consumer, "task_consumer", None), "channel", None)
        unacknowledged = getattr(channel, "unacknowledged", None)
        if unacknowledged is None:
            return
        held = unacknowledged() - _worked_on(parent.consumer)
        lost, self.suspects = held & self.suspects, held
        if lost:
            self.suspects = set()
            raise OSError(f"{len(lost)} messages that were never acknowledged hold places")


def _worked_on(consumer: Any) -> set[Any]:
    """Return the tags of messages with a request: one that runs, or waits for its time or turn."""
    buckets = filter(None, consumer.task_buckets.values())
    limited = (request for bucket in buckets for request, _tokens in tuple(bucket.contents))
    scheduled: Any = vars(state)["scheduled_requests"]  # not in the stubs
    requests = [*state.reserved_requests, *scheduled, *limited]
    tags = {each.delivery_info.get("delivery_tag") for each in requests}
    return tags | {getattr(each.message, "delivery_tag", None) for each in requests}


#: What `install` adds to a worker.
STEPS = frozenset({Guard, Children, Liveness, Places, Sweep})
