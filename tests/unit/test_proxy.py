"""The proxy that puts a server further away, and lets connections fall silent."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from sandbox.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

DELAY_SECONDS = 0.1


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that says what it hears."""

    def serve(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(1024):
                connection.sendall(data)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=[listening.accept()[0]], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def asked(connection: socket.socket, word: bytes) -> bytes:
    connection.sendall(word)
    return connection.recv(1024)


def test_answers_arrive_in_order_and_are_counted(echo):
    with Proxy(echo) as proxy, connect(proxy) as client:
        assert [asked(client, word) for word in (b"one", b"two")] == [b"one", b"two"]
        assert proxy.answers == 2


def test_an_answer_arrives_later_and_the_next_does_not_wait_for_it(echo):
    with Proxy(echo, delay_seconds=DELAY_SECONDS) as proxy, connect(proxy) as client:
        started = time.monotonic()
        for word in (b"1", b"2", b"3", b"4"):
            client.sendall(word)
            time.sleep(DELAY_SECONDS / 10)
        heard = b""
        while len(heard) < 4:
            heard += client.recv(1024)
        took = time.monotonic() - started
    assert heard == b"1234"
    assert DELAY_SECONDS <= took < 3 * DELAY_SECONDS


def test_a_silent_connection_takes_everything_and_new_ones_work(echo):
    with Proxy(echo) as proxy, connect(proxy) as client:
        assert asked(client, b"one") == b"one"
        proxy.silence()
        client.settimeout(DELAY_SECONDS)
        client.sendall(b"two")
        with pytest.raises(TimeoutError):
            client.recv(1024)
        with connect(proxy) as other:
            assert asked(other, b"three") == b"three"


def test_the_word_that_silences_is_not_heard(echo):
    with Proxy(echo) as proxy, connect(proxy) as client:
        proxy.silence_at(b"now")
        assert asked(client, b"one") == b"one"
        client.settimeout(DELAY_SECONDS)
        client.sendall(b"now")
        with pytest.raises(TimeoutError):
            client.recv(1024)
        assert proxy.was_said


def test_the_end_of_a_connection_passes(echo):
    with Proxy(echo) as proxy, connect(proxy) as client:
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1024) == b""
