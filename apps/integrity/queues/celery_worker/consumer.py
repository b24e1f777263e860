"""What a worker makes of a message that it cannot take: one line in the log, and on to the next.

A message is a hint here, so one that is dropped delays and loses nothing.

Note [Three gates]: the channel drops what is no message at all, `messages.flaw` what would fail
where nobody catches it (in the pool, when the result comes back), and the guard around Celery's
handler the rest. None of them quotes the message.
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

#: Of a task's name that is shown.
NAME_MAX = 100


def dropped(why: str) -> None:
    """Say that a message was dropped."""
    logger.warning("a message that cannot be taken was dropped: %s", why)


def broken(errors: Errors) -> Errors:
    """Return those that mean a broken connection.

    kombu counts two more among those of Redis that a message can raise: a key that it lacks, and
    a delivery tag that Redis cannot hold.
    """
    raised = {("builtins", "KeyError"), ("redis.exceptions", "DataError")}
    return tuple(each for each in errors if (each.__module__, each.__name__) not in raised)


class Consumer(consumer.Consumer):
    """Celery's, which goes on after any message."""

    connection_errors: Errors
    channel_errors: Errors

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Message], None]:
        """Return Celery's handler with a guard around it. See Note [Three gates]."""
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
        """Return why this worker cannot take a message, or "". Raises what decoding it raises."""
        headers: dict[str, Any] = message.headers
        length = len(message.body or "")
        accepted = self.app.conf.accept_content
        task = headers.get("task")
        alone = all(map(is_own, self.app.amqp.queues.consume_from))
        if why := messages.unread(task, message.content_type, length, accepted, alone=alone):
            return why
        found = messages.call(headers, message.payload)
        if why := messages.flaw(found):
            return why
        if messages.is_ours(found.headers["task"]):
            _disbelieve(message)
            return ""
        # Each worker has those: they run others without their limits (`celery.map`), or fill its
        # places. One for this app's queues alone is not there for them.
        return "a task of Celery's own" if alone and _is_celery_s(found.headers["task"]) else ""

    def drop(self, message: Message, why: str) -> None:
        """Acknowledge a message without acting on it."""
        dropped(why)
        if not message.acknowledged:
            message.reject_log_error(logger, self.connection_errors)

    def on_unknown_message(self, body: Any, message: Message) -> None:  # noqa: ARG002 (Celery's)
        """Drop what is no task; Celery's own way quotes the message, as do those below."""
        self.drop(message, "format")
        signals.task_rejected.send(sender=self, message=message, exc=None)

    def on_unknown_task(self, body: Any, message: Message, exc: Exception) -> None:  # noqa: ARG002 (Celery's)
        """Drop a task that this worker does not have; who waits for its result is told."""
        found = messages.call(message.headers, message.payload).headers
        name = str(found["task"])
        self.drop(message, f"no task {plain(name, NAME_MAX)!r} here")
        if not is_own(name):
            identity, asker = found["id"], _asker(message)
            self.app.backend.mark_as_failure(identity, NotRegistered(name), request=asker)
            signals.task_unknown.send(sender=self, message=message, exc=exc, name=name, id=identity)

    def on_invalid_task(self, body: Any, message: Message, exc: Exception) -> None:  # noqa: ARG002 (Celery's)
        """Drop a task that cannot be made from what the message holds."""
        self.drop(message, type(exc).__name__)
        signals.task_rejected.send(sender=self, message=message, exc=exc)

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Drop a body that is not what the headers say."""
        self.drop(message, type(exc).__name__)


def is_own(name: str) -> bool:
    """Return whether a queue or a task has a name of this app's."""
    return name == CONTROL or name.startswith(f"{CONTROL}.")


def _is_celery_s(task: str) -> bool:
    return task.startswith("celery.")


def _disbelieve(message: Message) -> None:
    """Let a message of ours be run as its task says, whatever it says itself."""
    fields: Any
    for fields in (message.headers, message.payload):
        if isinstance(fields, dict):
            fields.update(messages.DISBELIEVED)


def _asker(message: Message) -> Bunch:
    """Return who is told of a result, in the form of Celery's backends."""
    asked = message.properties
    return Bunch(
        name=message.headers.get("task"),
        chord=None,
        errbacks=None,
        root_id=message.headers.get("root_id"),
        correlation_id=asked.get("correlation_id"),
        reply_to=asked.get("reply_to"),
    )


def surviving(theirs: Any) -> Any:
    """Return a class of consumers that is both theirs and ours; `theirs` may be a dotted name."""
    found = symbol_by_name(theirs)
    if not (inspect.isclass(found) and issubclass(found, consumer.Consumer)):
        raise TypeError(
            f"worker_consumer is {theirs!r}, which is no subclass of"
            " celery.worker.consumer.Consumer: derive it from that, and install() keeps it"
        )
    if issubclass(found, Consumer):
        return found
    return Consumer if found is consumer.Consumer else type(found.__name__, (Consumer, found), {})


class Guard(bootsteps.Step):
    """Gives a worker this consumer, or its own with this one's guards."""

    def create(self, worker: Any) -> None:
        """Called before the consumer is made: that step is always the last."""
        worker.consumer_cls = surviving(worker.consumer_cls)
        compression.bound()
