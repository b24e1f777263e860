"""A client of the broker writes what is no message: a worker's channels go on, on a real server."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import kombu
import pytest
import redis

from apps.integrity.queues.celery_worker.connection import Connection
from sandbox.environment import BROKER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Of the session's broker, one that nobody else uses.
DATABASE = 8
QUEUE = kombu.Queue("attacked", kombu.Exchange("attacked"), routing_key="attacked")
CROWD = kombu.Queue("crowd", kombu.Exchange("crowd", type="fanout"), auto_delete=True)
DROPPED = "dropped a message that this worker cannot run"


@pytest.fixture
def url() -> Iterator[str]:
    found = urlsplit(os.environ[BROKER])._replace(path=f"/{DATABASE}").geturl()
    with redis.Redis.from_url(found) as client:
        client.flushdb()
        yield found
        client.flushdb()


@pytest.fixture
def broker(url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(url) as client:
        yield client


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    with Connection(url, transport_options={"unacked_restore_throttle": 1}) as found:
        yield found


def drained(connection: Any, queue: kombu.Queue, wanted: int) -> list[Any]:
    """The bodies of that many messages; whatever lies between them is passed."""
    bodies: list[Any] = []

    def take(body: Any, message: Any) -> None:
        if body == "raise":
            raise TypeError("as a handler does that takes a form for granted")
        bodies.append(body)
        message.ack()

    producer = connection.Producer(serializer="json")
    with connection.Consumer([queue], callbacks=[take], accept=["json"]):
        if queue is CROWD:
            with contextlib.suppress(TimeoutError):  # until SUBSCRIBE is answered
                connection.drain_events(timeout=1)
        for body in ("raise", *map(str, range(wanted))):
            producer.publish(body, exchange=queue.exchange, routing_key=queue.routing_key)
        while len(bodies) < wanted:
            connection.drain_events(timeout=5)
    return bodies


NOTHING = (b"{", b"", b"5", b"[]", b"null", b"\xff\xfe", b'{"body": "", "headers": {}}',
           b'{"properties": {"delivery_tag": [1]}}')  # fmt: skip


@pytest.mark.parametrize("queue", [QUEUE, CROWD], ids=["queue", "broadcast"])
def test_what_is_no_message_is_passed(
    connection: Connection, broker: redis.Redis, queue: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for entry in NOTHING:
        broker.lpush("attacked", entry)
    assert drained(connection, queue, 3) == ["0", "1", "2"]
    assert DROPPED in caplog.text


@pytest.mark.parametrize("entry", [b"{", b"5", b"[1, 2]", b"[1, 2, 3, 4]"])
def test_an_unacknowledged_entry_that_is_no_message_is_removed(
    connection: Connection, broker: redis.Redis, entry: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    broker.hset("unacked", "forged", entry)
    broker.zadd("unacked_index", {"forged": 0})
    channel: Any = connection.channel()
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        channel.qos.restore_visible(interval=1)
    assert not broker.hlen("unacked")
    assert not broker.zcard("unacked_index")
    assert DROPPED in caplog.text


@pytest.mark.parametrize(
    "act",
    [
        lambda message: message.channel.qos.restore_unacked(),
        lambda message: message.ack(),
        lambda message: message.reject(),
    ],
    ids=["restore", "acknowledge", "reject"],
)
def test_a_connection_that_was_given_up_is_one_that_failed(
    connection: Connection, act: Callable[[Any], object]
) -> None:
    """Celery gives it up before it closes its channels, and passes over connection errors alone."""
    taken: list[Any] = []
    with connection.Consumer([QUEUE], callbacks=[lambda _body, message: taken.append(message)]):
        connection.Producer().publish("held", exchange="attacked", routing_key="attacked")
        connection.drain_events(timeout=5)
        [message] = taken
        errors = connection.connection_errors
        connection.collect()
        message.channel._disconnect_pools()
        with pytest.raises(errors, match="was closed"):
            act(message)
        message.channel.qos._delivered.clear()
