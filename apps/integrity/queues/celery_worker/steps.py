"""Periodic steps of a worker, run by its own timer."""

from __future__ import annotations

from typing import Any

from celery import bootsteps
from celery.worker import state
from kombu.exceptions import KombuError

from ...exceptions import CrossDatabaseError
from ...exceptions.loggers import logger_of
from ...exceptions.redaction import reason_of_error
from ...routing import CONTROL, queue_for
from .. import health
from .consumer import Guard

logger = logger_of("integrity.celery_worker")

#: Celery's own period is 5 s.
CHILDREN_SECONDS = 1.0
PREFETCH_SECONDS = 5.0

#: Well above beat's period: it only matters when beat is silent.
SWEEP_SECONDS = 15.0
#: Soon after the start: work that became due while no worker ran does not wait for beat.
SWEEP_FIRST_SECONDS = 1.0


class Periodic(bootsteps.StartStopStep):
    """A step that calls `act` every `seconds`, by the worker's timer."""

    requires = ("celery.worker.components:Timer", "celery.worker.components:Pool")
    seconds = 0.0
    first_seconds: float | None = None

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.timer_entries: list[Any] = []

    def start(self, parent: Any) -> None:
        """Start the timer."""
        timer = parent.timer
        if self.first_seconds is not None:
            self.timer_entries.append(timer.call_after(self.first_seconds, self.act, (parent,)))
        self.timer_entries.append(timer.call_repeatedly(self.seconds, self.act, (parent,)))

    def stop(self, parent: Any) -> None:  # noqa: ARG002 (a bootstep's signature)
        """Stop the timer."""
        while self.timer_entries:
            self.timer_entries.pop().cancel()

    # A cold shutdown terminates the steps instead of stopping them.
    terminate = stop

    def act(self, parent: Any) -> None:
        """Do the work of the step. The timer logs errors."""
        raise NotImplementedError


class Liveness(Periodic):
    """Writes the heartbeat file that the probe `queues.health` reads; a clean stop removes it."""

    seconds = health.PERIOD_SECONDS

    def start(self, parent: Any) -> None:
        """Write the file now, and start the timer."""
        self.act(parent)
        super().start(parent)

    def stop(self, parent: Any) -> None:
        """Stop the timer, and remove the file."""
        super().stop(parent)
        health.alive_file(_name(parent)).unlink(missing_ok=True)

    terminate = stop

    def act(self, parent: Any) -> None:
        """Write the file."""
        try:
            health.touch(_name(parent))
        except OSError as error:
            logger.warning("cannot write the file for the liveness probe: %s", error)


def _name(worker: Any) -> str:
    name: str = worker.hostname
    return name.partition("@")[0]


class Sweep(Periodic):
    """Looks for work of the worker's own queues, so that work goes on when beat is dead."""

    seconds = SWEEP_SECONDS
    first_seconds = SWEEP_FIRST_SECONDS

    def act(self, parent: Any) -> None:
        """Send a message to each of the worker's queues.

        An error of the connection is raised: Celery then connects anew.
        """
        try:
            for queue in parent.app.amqp.queues.consume_from:
                publish(queue)
        except (KombuError, CrossDatabaseError) as error:
            logger.warning("no message could be sent to %s: %s", queue, reason_of_error(error))


def publish(queue: str) -> None:
    """Send a message for the database of that queue, unless enough of them wait there.

    It has no expiry, which would be a time of this machine's clock.
    """
    from ... import relations  # its models are ready once Celery has started
    from .. import celery  # its models are ready once Celery has started

    if queue == CONTROL:
        for using in relations.log_databases():
            celery.publish_dispatch(using)
        return
    for place in relations.catalogue().places:  # of a step, it is not what the queue's name ends in
        if queue_for(place) == queue:
            celery.publish_cascade(place)


class Children(Periodic):
    """Notices a killed child process soon, so that its task runs again soon."""

    seconds = CHILDREN_SECONDS

    def act(self, parent: Any) -> None:
        """Replace dead processes of the pool, where it has processes."""
        maintain = getattr(getattr(parent.pool, "_pool", None), "maintain_pool", None)
        if maintain is not None:
            maintain()


class PrefetchCheck(Periodic):
    """Reconnects when a message counts against the prefetch limit and no task runs for it.

    When an acknowledgement fails (on a connection that is dead), Celery logs it and continues, and
    the message still counts against the limit. After enough failures, the worker would fetch no
    message any more. A message that is unacknowledged at two checks in a row, without a request,
    is such a message. Only the channels for Redis list unacknowledged messages; other brokers
    deliver a lost message again themselves.
    """

    seconds = PREFETCH_SECONDS

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.suspects: set[Any] = set()

    def act(self, parent: Any) -> None:
        """Raise `OSError` for lost messages: Celery reconnects, and gets them again."""
        channel = getattr(getattr(parent.consumer, "task_consumer", None), "channel", None)
        unacknowledged = getattr(channel, "unacknowledged", None)
        if unacknowledged is None:
            return
        held = unacknowledged() - _worked_on(parent.consumer)
        lost, self.suspects = held & self.suspects, held
        if lost:
            self.suspects = set()
            raise OSError(f"{len(lost)} messages were never acknowledged: reconnecting")


def _worked_on(consumer: Any) -> set[Any]:
    """Return the tags of messages with a request: running, scheduled, or rate-limited."""
    buckets = filter(None, consumer.task_buckets.values())
    limited = (request for bucket in buckets for request, _tokens in tuple(bucket.contents))
    scheduled: Any = vars(state)["scheduled_requests"]  # not in the stubs
    requests = [*state.reserved_requests, *scheduled, *limited]
    tags = {request.delivery_info.get("delivery_tag") for request in requests}
    return tags | {getattr(request.message, "delivery_tag", None) for request in requests}


#: What `install` adds to a worker.
STEPS = frozenset({Guard, Children, Liveness, PrefetchCheck, Sweep})
