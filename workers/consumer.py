"""What a worker makes of a message that it cannot read: one line in the log, and on to the next.

Celery takes the form of a message for granted in places: its consumer ends at a list for a task's
name, and a time limit that is no pair takes a process out of the pool for good. A message is a hint
here, so one that is dropped delays and loses nothing.

Note [Three gates]: the channel drops what is no message at all, `flaw` what would fail where
nobody catches it (in the pool, when the result comes back), and the guard around Celery's handler
the rest. None of them quotes the message.
"""

from __future__ import annotations

import logging
from queue import Empty
from typing import TYPE_CHECKING, Any, TypeAlias

from celery.worker import consumer
from kombu.transport import redis
from redis.exceptions import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kombu import Message

Errors: TypeAlias = tuple[type[Exception], ...]

logger = logging.getLogger("workers.consumer")

#: The headers that Celery uses without a look, and what its publishers put into them.
HEADERS: dict[str, Any] = {
    "task": str,
    "id": str,
    "eta": str | None,
    "expires": str | None,
    "group": str | None,
    "parent_id": str | None,
    "retries": int | None,
    "root_id": str | None,
    "shadow": str | None,
    "stamped_headers": list | None,
    "stamps": dict | None,
    "timelimit": list | None,
}
#: Positional arguments, keyword arguments, and what is to follow.
BODY = (list, dict, dict)


def flaw(message: Message) -> str:
    """What makes a message one that no worker can take, or "". Raises what decoding it raises."""
    headers: dict[str, Any] = message.headers
    for name, kind in HEADERS.items():
        if not isinstance(headers.get(name), kind):
            return f"header {name}"
    if not _is_pair(headers.get("timelimit")):
        return "header timelimit"
    if not all(isinstance(stamp, str) for stamp in headers.get("stamped_headers") or ()):
        return "header stamped_headers"
    body = message.payload
    if not isinstance(body, list) or len(body) != len(BODY):
        return "body"
    return "" if all(map(isinstance, body, BODY)) else "body"


def _is_pair(limits: list[Any] | None) -> bool:
    """Whether those are a hard and a soft time limit, in seconds."""
    return limits is None or (
        len(limits) == 2  # noqa: PLR2004 (a pair)
        and all(each is None or (isinstance(each, int | float) and each >= 0) for each in limits)
    )


def dropped(why: str) -> None:
    """Say that a message was dropped."""
    logger.warning("a message that cannot be read was dropped: %s", why)


class Consumer(consumer.Consumer):
    """Celery's, which goes on after any message."""

    connection_errors: Errors
    channel_errors: Errors

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Message], None]:
        """As Celery does, with a guard around it. See Note [Three gates]."""
        handle = super().create_task_handler(*args, **options)
        broken = _broken(self.connection_errors + self.channel_errors)

        def guarded(message: Message) -> None:
            try:
                if why := flaw(message):
                    self.drop(message, why)
                else:
                    handle(message)
            except broken:
                raise
            except Exception as error:  # noqa: BLE001 (a forged message may raise anything)
                self.drop(message, type(error).__name__)

        return guarded

    def drop(self, message: Message, why: str) -> None:
        """Acknowledge a message without acting on it."""
        dropped(why)
        if not message.acknowledged:
            message.reject_log_error(logger, self.connection_errors)

    def on_unknown_message(self, body: Any, message: Message) -> None:  # noqa: ARG002
        """Celery's own way quotes the message, as do those below."""
        self.drop(message, "format")

    def on_unknown_task(self, body: Any, message: Message, exc: Exception) -> None:  # noqa: ARG002
        """A task that this worker does not have."""
        self.drop(message, "no such task")

    def on_invalid_task(self, body: Any, message: Message, exc: Exception) -> None:  # noqa: ARG002
        """A task that cannot be made from what the message holds."""
        self.drop(message, type(exc).__name__)

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """A body that is not what the headers say."""
        self.drop(message, type(exc).__name__)


class Channel(redis.Channel):
    """Goes on after an entry of the queue that is no message; it is gone from the queue by then."""

    connection: Any
    connection_errors: Errors

    def _brpop_read(self, **options: Any) -> bool:
        read: Callable[..., bool] = super()._brpop_read  # type: ignore[misc]  # not in the stubs
        passed: Errors = (Empty, *_broken(self.connection_errors + self.connection.channel_errors))
        try:
            return read(**options)
        except passed:
            raise
        except Exception as error:  # noqa: BLE001 (a forged entry may raise anything)
            dropped(type(error).__name__)
            return True


class Transport(redis.Transport):
    """Redis, by those channels."""

    Channel = Channel


def _broken(errors: Errors) -> Errors:
    """Those that mean a broken connection.

    kombu counts two more among them that a message can raise: a key that it lacks, and a delivery
    tag that Redis cannot hold.
    """
    return tuple(each for each in errors if each not in {KeyError, DataError})
