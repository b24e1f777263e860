"""Brokers that are ill, each in its own way, for the length of a block.

Each gives its URL, and what makes it ill once a client has connected and published.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import redis

from apps.integrity.routing import CONTROL
from sandbox import binaries, project
from sandbox.processes import ProcessError, eventually, free_port
from sandbox.servers import LOOPBACK, Redis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: Connections that wait to be accepted: more than any test opens.
MANY = 1_024
CONNECT_SECONDS = 0.5
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Broker:
    """Where it is, and what happens to it after the first wake-up has come (None: nothing)."""

    url: str
    strike: Callable[[], None] | None = field(default=None)


@contextmanager
def refused(_: Path) -> Iterator[Broker]:
    """Nobody listens."""
    yield Broker(_url(free_port()))


@contextmanager
def silent(_: Path) -> Iterator[Broker]:
    """Connections are made, and nothing is ever answered."""
    with socket.create_server((LOOPBACK, 0), backlog=MANY) as listening:
        yield Broker(_url(listening.getsockname()[1]))


@contextmanager
def dropped(_: Path) -> Iterator[Broker]:
    """No connection is made, and none is refused: the queue of those who wait is full."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server((LOOPBACK, 0), backlog=0))
        for _waiting in range(MANY):
            client = stack.enter_context(socket.socket())
            client.settimeout(CONNECT_SECONDS)
            try:
                client.connect(listening.getsockname())
            except TimeoutError:
                break
        else:
            raise ProcessError("this system accepts connections that nobody accepts")
        yield Broker(_url(listening.getsockname()[1]))


@contextmanager
def frozen(directory: Path) -> Iterator[Broker]:
    """A server that stops in the middle of everything, with its connections open."""
    with _server(directory / "redis-frozen") as server:

        def strike() -> None:
            with redis.Redis.from_url(server.url) as client:
                came = eventually(
                    lambda: any(map(client.llen, project.QUEUES)), timeout=PATIENCE_SECONDS
                )
            if not came:
                raise ProcessError("no wake-up came before the broker was to be frozen")
            server.freeze()

        yield Broker(server.url, strike)


@contextmanager
def full(directory: Path) -> Iterator[Broker]:
    """A server that is out of memory and evicts nothing."""
    with _server(directory / "redis-full") as server:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("maxmemory", 1)
            with suppress(redis.exceptions.OutOfMemoryError):
                client.lpush(CONTROL, "")
                raise ProcessError("a broker without memory takes messages")
        yield Broker(server.url)


FAULTS = {each.__name__: each for each in (refused, silent, dropped, frozen, full)}


def _url(port: int) -> str:
    return f"redis://{LOOPBACK}:{port}/0"


@contextmanager
def _server(data: Path) -> Iterator[Redis]:
    server = Redis(binaries.redis().path, data=data, log=data.with_suffix(".log"))
    try:
        yield server.start().wait_until_ready()
    finally:
        server.stop()
