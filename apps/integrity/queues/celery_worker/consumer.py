"""A consumer that drops messages which the worker cannot run, with one line in the log.

The database holds the work of this app. So a dropped message delays work, and loses none.

Note [Three checks]: the channel drops entries that are no messages. `messages.flaw` finds messages
that would fail where nothing catches the error (in the pool, when a result arrives). The guard
around Celery's handler drops all others. No log line quotes a message.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeAlias

from celery import bootsteps, signals
from celery.exceptions import NotRegistered
from celery.utils.imports import symbol_by_name
from celery.utils.objects import Bunch
from celery.worker import consumer

from ...exceptions.loggers import logger_of
from ...exceptions.redaction import plain
from ...routing import CONTROL
from . import compression, messages

if TYPE_CHECKING:
    from collections.abc import Callable

    from kombu import Message

Errors: TypeAlias = tuple[type[BaseException], ...]

logger = logger_of("integrity.celery_worker")

#: How many characters of a task's name are shown.
NAME_MAX = 100


def dropped(why: str) -> None:
    """Log that a message was dropped, and why."""
    logger.warning("dropped a message that this worker cannot run: %s", why)


def broken(errors: Errors) -> Errors:
    """Return the errors that mean a broken connection.

    kombu's list for Redis has two more, which a malformed message can raise: `KeyError` for a
    missing key, and `DataError` for a delivery tag that Redis cannot store.
    """
    of_messages = {("builtins", "KeyError"), ("redis.exceptions", "DataError")}
    return tuple(kind for kind in errors if (kind.__module__, kind.__name__) not in of_messages)


class Consumer(consumer.Consumer):
    """Celery's consumer, which survives any message."""

    connection_errors: Errors
    channel_errors: Errors

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Message], None]:
        """Return Celery's handler with a guard around it. See Note [Three checks]."""
        handle = super().create_task_handler(*args, **options)
        passed = broken(self.connection_errors + self.channel_errors)

        def guarded(message: Message) -> None:
            try:
                if why := self.flaw(message):
                    self.drop(message, why)
                else:
                    handle(message)
            except passed:
                raise
            except Exception as error:  # noqa: BLE001 (a forged message may raise anything)
                self.drop(message, type(error).__name__)

        return guarded

    def flaw(self, message: Message) -> str:
        """Return why this worker cannot run a message, or "". Raises the errors of its decoder."""
        headers: dict[str, Any] = message.headers
        length = len(message.body or "")
        accepted = self.app.conf.accept_content
        task = headers.get("task")
        alone = all(map(is_own, self.app.amqp.queues.consume_from))
        if why := messages.unread(task, message.content_type, length, accepted, alone=alone):
            return why
        call = messages.call(headers, message.payload)
        if why := messages.flaw(call):
            return why
        if messages.is_ours(call.headers["task"]):
            _override(message)
            return ""
        # Every worker has Celery's own tasks. They run other tasks without their time limits
        # (`celery.map`), or keep the pool busy. A worker for this app's queues only needs none.
        return "a task of Celery's own" if alone and _is_celery_s(call.headers["task"]) else ""

    def drop(self, message: Message, why: str) -> None:
        """Acknowledge a message without acting on it."""
        dropped(why)
        if not message.acknowledged:
            message.reject_log_error(logger, self.connection_errors)

    def on_unknown_message(self, body: Any, message: Message) -> None:  # noqa: ARG002 (Celery's)
        """Drop a message that is no task. Celery's own handlers would quote messages in the log."""
        self.drop(message, "format")
        signals.task_rejected.send(sender=self, message=message, exc=None)

    def on_unknown_task(self, body: Any, message: Message, exc: Exception) -> None:  # noqa: ARG002 (Celery's)
        """Drop a task that this worker does not have; store the failure as its result."""
        headers = messages.call(message.headers, message.payload).headers
        name = str(headers["task"])
        self.drop(message, f"no task {plain(name, NAME_MAX)!r} here")
        if not is_own(name):
            identity, request = headers["id"], _request(message)
            self.app.backend.mark_as_failure(identity, NotRegistered(name), request=request)
            signals.task_unknown.send(sender=self, message=message, exc=exc, name=name, id=identity)

    def on_invalid_task(self, body: Any, message: Message, exc: Exception) -> None:  # noqa: ARG002 (Celery's)
        """Drop a message that no task can be made from."""
        self.drop(message, type(exc).__name__)
        signals.task_rejected.send(sender=self, message=message, exc=exc)

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Drop a message whose body does not match its headers."""
        self.drop(message, type(exc).__name__)


def is_own(name: str) -> bool:
    """Return whether the name of a queue or a task belongs to this app."""
    return name == CONTROL or name.startswith(f"{CONTROL}.")


def _is_celery_s(task: str) -> bool:
    return task.startswith("celery.")


def _override(message: Message) -> None:
    """Replace options in a message of this app by those of its task."""
    fields: Any
    for fields in (message.headers, message.payload):
        if isinstance(fields, dict):
            fields.update(messages.OVERRIDDEN)


def _request(message: Message) -> Bunch:
    """Return the request that a result belongs to, in the form of Celery's backends."""
    properties = message.properties
    return Bunch(
        name=message.headers.get("task"),
        chord=None,
        errbacks=None,
        root_id=message.headers.get("root_id"),
        correlation_id=properties.get("correlation_id"),
        reply_to=properties.get("reply_to"),
    )


def surviving(theirs: Any) -> Any:
    """Return a consumer class that inherits from theirs and from ours.

    `theirs` is a class or a dotted name. Raises `TypeError` for anything but a consumer class.
    """
    base = symbol_by_name(theirs)
    if not (inspect.isclass(base) and issubclass(base, consumer.Consumer)):
        raise TypeError(
            f"worker_consumer is {theirs!r}, which is not a subclass of"
            " celery.worker.consumer.Consumer: derive it from that class, and install() keeps it"
        )
    if issubclass(base, Consumer):
        return base
    return Consumer if base is consumer.Consumer else type(base.__name__, (Consumer, base), {})


class Guard(bootsteps.Step):
    """Makes a worker use this consumer, combined with the project's own."""

    def create(self, worker: Any) -> None:
        """Set the consumer's class. The last step of a worker creates the consumer."""
        worker.consumer_cls = surviving(worker.consumer_cls)
        compression.limit_size()
