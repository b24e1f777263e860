"""A TCP proxy in front of a local server. It adds latency, or drops traffic silently.

It simulates a remote server, a cut cable, or a firewall that has lost its connection state.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from sandbox.servers import LOOPBACK

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

#: Received bytes, and the time at which to deliver them; None at the end.
DelayLine = asyncio.Queue[tuple[float, bytes] | None]


class Proxy:
    """Forwards bytes in both directions, in its own thread, during a block.

    The server's answers arrive `delay_seconds` later. A silent connection stays open and accepts
    data, but nothing reaches the other side, not even the end of the connection. New connections
    work.
    """

    def __init__(self, port: int, *, delay_seconds: float = 0.0) -> None:
        self.target = port
        self.port = 0
        self.delay_seconds = delay_seconds
        #: The number of round trips that clients waited for.
        self.answers = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        #: The loop keeps only weak references to tasks, so hold them here.
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[StreamWriter] = set()
        #: Connections of an earlier generation are silent.
        self._generation = 0
        self._trigger = b""

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def silence(self) -> None:
        """Silence all connections that are open now."""
        self._generation += 1

    def silence_at(self, trigger: bytes) -> None:
        """Fall silent when the server next sends `trigger`, and drop that data, too.

        This loses a message that Redis has already removed from its queue.
        """
        self._trigger = trigger

    @property
    def was_triggered(self) -> bool:
        """Whether the server has sent the trigger."""
        return not self._trigger

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, LOOPBACK, 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        """Close all connections, including the silent ones."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()
        await asyncio.sleep(0)  # the loop closes a transport in its next iteration

    async def _serve(self, client: StreamReader, to_client: StreamWriter) -> None:
        try:
            server, to_server = await asyncio.open_connection(LOOPBACK, self.target)
        except OSError:
            to_client.close()
            return
        self._writers = {writer for writer in self._writers if not writer.is_closing()}
        self._writers |= {to_client, to_server}
        link = _Link(self, self._generation)
        answers: DelayLine = asyncio.Queue()
        for coroutine in (
            link.forward_requests(client, to_server),
            link.receive_answers(server, answers),
            link.deliver_answers(answers, to_client),
        ):
            task = self._loop.create_task(coroutine)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _is_silent(self, generation: int, data: bytes = b"") -> bool:
        """Return whether a connection of this generation is silent after the server sent `data`."""
        if self._trigger and self._trigger in data:
            self._trigger = b""
            self.silence()
        return generation != self._generation


class _Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, generation: int) -> None:
        self._proxy, self._generation = proxy, generation
        self._awaits_answer = False

    async def forward_requests(self, client: StreamReader, to_server: StreamWriter) -> None:
        """Forward data from the client to the server without delay."""
        with suppress(OSError):
            while data := await client.read(65_536):
                self._awaits_answer = True
                if not self._is_silent():
                    to_server.write(data)
                    await to_server.drain()
        if not self._is_silent():  # a silent connection does not forward its end, either
            to_server.close()

    async def receive_answers(self, server: StreamReader, answers: DelayLine) -> None:
        """Read the server's data and put it into the delay line."""
        with suppress(OSError):
            while data := await server.read(65_536):
                if not self._is_silent(data):
                    self._proxy.answers += self._awaits_answer
                    self._awaits_answer = False
                    answers.put_nowait((time.monotonic() + self._proxy.delay_seconds, data))
        answers.put_nowait(None)

    async def deliver_answers(self, answers: DelayLine, to_client: StreamWriter) -> None:
        """Send the data of the delay line to the client when it is due."""
        with suppress(OSError):
            while item := await answers.get():
                arrives, data = item
                if (wait := arrives - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                to_client.write(data)
                await to_client.drain()
        if not self._is_silent():
            to_client.close()

    def _is_silent(self, data: bytes = b"") -> bool:
        return self._proxy._is_silent(self._generation, data)  # noqa: SLF001 (same module)
