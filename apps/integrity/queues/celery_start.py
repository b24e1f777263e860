"""What a worker says at its start, where it was started so that it gets no work of this app."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import relations
from ..exceptions.loggers import logger_of
from ..routing import BROKER_VARIABLE, masked, queue_names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from celery import Celery

logger = logger_of("integrity.celery_worker")


def warn(app: Celery) -> None:
    """Log a line for each reason why this worker may get no messages of this app."""
    ours = queue_names(relations.catalogue().places)
    consumed = {*app.amqp.queues.consume_from}
    for reason in (
        *of_queues(consumed, app.conf.task_default_queue, ours),
        *of_broker(app.conf.broker_read_url, app.conf.first("broker_url", "broker_host")),
    ):
        logger.warning("%s", reason)


def of_queues(consumed: Collection[str], default: str, ours: Collection[str]) -> Iterator[str]:
    """Yield what is wrong with the queues that a worker consumes. Pure."""
    if {*consumed} == {default} and default not in ours:
        yield (
            f"this worker consumes the queue {default} only, as without -Q. It gets no work of this"
            f" app: start one with `-Q {','.join(ours)}`, or one for each of these queues"
        )


def of_broker(used: str | None, configured: str | None) -> Iterator[str]:
    """Yield where a worker takes messages from another broker than its project's. Pure."""
    if used and configured and used != configured:
        yield (
            f"this worker takes messages from {masked(used)}, by {BROKER_VARIABLE}, BROKER_URL or"
            f" --broker, and the project's settings name {masked(configured)}: processes without"
            " that variable publish there"
        )
