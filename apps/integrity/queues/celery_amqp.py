"""Connections to RabbitMQ that publish: confirmed, with a limit for each wait, and not blocked.

Note [Blocked publishers]: while RabbitMQ has an alarm (its memory or its disk is full), it stops
reading from each connection that publishes, and says so once. Without confirms, publishing would
seem to succeed. Such a connection is kept: RabbitMQ would not notice that it was closed, and each
new one would be blocked, too. It says on the old one that the alarm is over.

Note [A connection of each process]: two processes that write into one connection would break it.
So the process is part of a connection's options, by which kombu finds its pool: after a fork, no
pool is inherited.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from amqp import spec
from amqp.exceptions import NotFound

from ..exceptions import CrossDatabaseError
from ..routing import AMQP

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: The attribute of a connection with what RabbitMQ said about its alarm.
ALARM = "integrity_alarm"
#: What RabbitMQ says, and what it means.
ALARMS = {"low on memory": "memory alarm", "low on disk": "disk alarm"}
#: No queue has this name: RabbitMQ drops messages to it, and confirms them.
NOWHERE = "integrity.nowhere"


class PublishersBlocked(CrossDatabaseError):
    """RabbitMQ accepts no message, because of an alarm."""


def options(given: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Return the transport options of a connection that waits for at most `seconds`."""
    return {
        **given,
        "confirm_publish": True,
        "connect_timeout": seconds,
        "max_retries": 0,
        "on_open": _opened,
        "process": os.getpid(),  # see Note [A connection of each process]
    }


def _opened(connection: Any) -> None:
    """Limit each wait of a new connection, and let it note why it is blocked."""
    # py-amqp's own option `read_timeout` does not end a wait within a message.
    connection.transport.sock.settimeout(connection.connect_timeout)
    # It also drops the reason that RabbitMQ gives.
    blocked = spec.Connection.Blocked
    reads = {blocked: spec.method(blocked, "s")}
    connection._METHODS = {**connection._METHODS, **reads}  # noqa: SLF001 (py-amqp has no other way)
    setattr(connection, ALARM, "")

    def on_blocked(reason: str) -> None:
        setattr(connection, ALARM, reason)
        raise _blocked(reason)

    def on_unblocked() -> None:
        setattr(connection, ALARM, "")

    connection._callbacks.update(  # noqa: SLF001 (as above)
        {blocked: on_blocked, spec.Connection.Unblocked: on_unblocked}
    )


def _blocked(reason: str) -> PublishersBlocked:
    """Return the error for what RabbitMQ said: `low on memory & disk`, for example."""
    said = [meant for text, meant in ALARMS.items() if text.rpartition(" ")[2] in reason]
    return PublishersBlocked(f"RabbitMQ blocks publishers: {' and '.join(said) or reason}")


@contextmanager
def working(connection: Any) -> Iterator[None]:
    """Let a pooled connection work during the block, or raise why it does not.

    One that its server has closed is opened anew, and one that fails is dropped. Raises
    `PublishersBlocked`: see Note [Blocked publishers].
    """
    try:
        _renew(connection)
        yield
    except PublishersBlocked:
        raise
    except Exception:
        connection.collect()
        raise


def _renew(connection: Any) -> None:
    if connection.connected:
        try:
            connection.connection.drain_events(timeout=0)
        except TimeoutError:  # nothing to read
            pass
        except PublishersBlocked:
            raise
        except Exception:  # noqa: BLE001 (whatever ended it, the next one may live)
            connection.collect()
    others = max(len(connection.alt) - 1, 0)
    connection.ensure_connection(max_retries=others, interval_start=0, interval_step=0)
    if reason := getattr(connection.connection, ALARM, ""):
        raise _blocked(reason)


def reconnect_later(producer: Any) -> None:
    """Let a producer connect anew when it is next used, if its broker is RabbitMQ."""
    connection = getattr(producer, "connection", None)
    if connection is not None and connection.transport.driver_type == AMQP:
        connection.collect()
        producer.revive(connection)


def probe(producer: Any) -> None:
    """Publish a message to no queue. Raises `PublishersBlocked`, or another error of the broker."""
    producer.publish(
        "", routing_key=NOWHERE, retry=False, delivery_mode="transient", confirm_timeout=None
    )


def length(queue: Any, connection: Any) -> int:
    """Return how many messages wait in a queue; 0 where there is none yet.

    It asks by name only, so a queue with other arguments than ours (a quorum queue, priorities) is
    no error. RabbitMQ closes the channel where there is no such queue, so it has its own.
    """
    channel = connection.channel()
    try:
        return int(queue.bind(channel).queue_declare(passive=True).message_count)
    except NotFound:
        connection.declared_entities.clear()  # somebody deleted it: publishing declares it again
        return 0
    finally:
        connection.maybe_close_channel(channel)
