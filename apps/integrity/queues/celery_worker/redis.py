"""kombu's transport for Redis, which survives malformed entries.

Anyone who can reach the broker can write entries into a queue, a channel, or the hash of
unacknowledged messages. kombu does not check their form, and a malformed one ends the worker.
"""

from __future__ import annotations

import functools
from queue import Empty
from typing import TYPE_CHECKING, Any

from kombu.transport import redis
from redis.exceptions import ConnectionError  # noqa: A004 (kombu's list has this class)

from .consumer import broken, dropped

if TYPE_CHECKING:
    from collections.abc import Callable

    from .consumer import Errors


class QoS(redis.QoS):
    """kombu's record of unacknowledged messages."""

    channel: Any
    _remove_from_indices: Callable[[Any], Any]

    def restore_by_tag(self, tag: Any, *args: Any, **options: Any) -> None:
        """Put a message back into its queue; drop a malformed entry."""
        try:
            super().restore_by_tag(tag, *args, **options)
        except broken(self.channel.connection_errors + self.channel.connection.channel_errors):
            raise
        except Exception as error:  # noqa: BLE001 (a forged entry may raise anything)
            dropped(type(error).__name__)
            self._remove_from_indices(tag).execute()


class Channel(redis.Channel):
    """Survives an entry that is no message: by then, it has left the queue.

    Note [A closed connection]: when the broker dies, Celery discards the connection before it
    closes its channels. The channels then put messages back, or acknowledge them, through a
    connection that has no address any more, and kombu's `AttributeError` ends the worker. Here a
    `ConnectionError` is raised: Celery reconnects, and the broker delivers the messages again.
    """

    QoS = QoS
    connection: Any
    connection_errors: Errors

    def _brpop_read(self, **options: Any) -> bool:
        return self._guarded(functools.partial(super()._brpop_read, **options))  # type: ignore[misc]  # not in the stubs

    def _receive_one(self, *args: Any) -> bool:
        # Not around `_receive`: the messages after this one are already in the client's buffer.
        return self._guarded(functools.partial(super()._receive_one, *args))  # type: ignore[misc]  # as above

    def _connparams(self, *args: Any, **options: Any) -> dict[str, Any]:
        if getattr(self.connection, "client", None) is None:
            raise ConnectionError("the connection to the broker was closed")
        parameters: dict[str, Any] = super()._connparams(*args, **options)  # type: ignore[misc]  # as above
        return parameters

    def _guarded(self, read: Callable[[], bool]) -> bool:
        passed: Errors = (Empty, *broken(self.connection_errors + self.connection.channel_errors))
        try:
            return read()
        except passed:
            raise
        except Exception as error:  # noqa: BLE001 (a forged entry may raise anything)
            dropped(type(error).__name__)
            return True

    def unacknowledged(self) -> set[Any]:
        """Return the tags of messages that this channel delivered and nobody acknowledged."""
        qos: Any = self.qos
        return set(qos._delivered) - set(qos._dirty)  # noqa: SLF001 (kombu has no public method)


class Transport(redis.Transport):
    """kombu's transport for Redis, with those channels."""

    Channel = Channel


@functools.cache
def guarded(transport: Any) -> Any:
    """Return the guarded class of a transport for Redis or Sentinel; any other class unchanged."""
    if transport is redis.Transport:
        return Transport
    if not issubclass(transport, redis.Transport) or issubclass(transport.Channel, Channel):
        return transport
    channel = type(transport.Channel.__name__, (Channel, transport.Channel), {})
    return type(transport.__name__, (transport,), {"Channel": channel})
