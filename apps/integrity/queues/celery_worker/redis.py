"""kombu's transport for Redis, which goes on after anything that it finds there.

Entries of a queue, of a channel and of the hash of unacknowledged messages were written by whoever
can reach the broker. kombu takes their form for granted, and one that has another ends the worker.
"""

from __future__ import annotations

import functools
from queue import Empty
from typing import TYPE_CHECKING, Any

from kombu.transport import redis
from redis.exceptions import ConnectionError  # noqa: A004 (the one that kombu knows)

from .consumer import broken, dropped

if TYPE_CHECKING:
    from collections.abc import Callable

    from .consumer import Errors


class QoS(redis.QoS):
    """Keeps count of what is not acknowledged."""

    channel: Any
    _remove_from_indices: Callable[[Any], Any]

    def restore_by_tag(self, tag: Any, *args: Any, **options: Any) -> None:
        """Put a message back into its queue; drop an entry that is none."""
        try:
            super().restore_by_tag(tag, *args, **options)
        except broken(self.channel.connection_errors + self.channel.connection.channel_errors):
            raise
        except Exception as error:  # noqa: BLE001 (a forged entry may raise anything)
            dropped(type(error).__name__)
            self._remove_from_indices(tag).execute()


class Channel(redis.Channel):
    """Goes on after an entry that is no message; it is gone from the queue by then.

    Note [A connection that was given up]: when the broker dies, Celery gives the connection up
    before it closes its channels. These then put messages back, or acknowledge them, by a
    connection that has no address any more, and kombu's `AttributeError` ends the worker. Here it
    is what it means: the broker cannot be reached, and gives the messages out again later.
    """

    QoS = QoS
    connection: Any
    connection_errors: Errors

    def _brpop_read(self, **options: Any) -> bool:
        return self._guarded(functools.partial(super()._brpop_read, **options))  # type: ignore[misc]  # not in the stubs

    def _receive_one(self, *args: Any) -> bool:
        # Not around `_receive`: the messages behind this one lie in the client's buffer already.
        return self._guarded(functools.partial(super()._receive_one, *args))  # type: ignore[misc]  # as above

    def _connparams(self, *args: Any, **options: Any) -> dict[str, Any]:
        if getattr(self.connection, "client", None) is None:
            raise ConnectionError("the connection to the broker was given up")
        found: dict[str, Any] = super()._connparams(*args, **options)  # type: ignore[misc]  # as above
        return found

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
        """Return the tags of messages that were given out here and not acknowledged."""
        qos: Any = self.qos
        return set(qos._delivered) - set(qos._dirty)  # noqa: SLF001 (kombu tells no other way)


class Transport(redis.Transport):
    """Redis, by those channels."""

    Channel = Channel


@functools.cache
def guarded(found: Any) -> Any:
    """Return the guarded class of a transport for Redis (Sentinel's, too), and others as found."""
    if found is redis.Transport:
        return Transport
    if not issubclass(found, redis.Transport) or issubclass(found.Channel, Channel):
        return found
    channel = type(found.Channel.__name__, (Channel, found.Channel), {})
    return type(found.__name__, (found,), {"Channel": channel})
