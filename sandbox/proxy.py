"""A proxy in front of a server of this machine: further away than it is, or silent without a word.

So behaves a server in another building, a cable that is cut, a firewall that forgets.
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

#: Bytes that have come, and when they may go on; None at the end.
Line = asyncio.Queue[tuple[float, bytes] | None]


class Proxy:
    """Passes bytes to and fro, in a thread of its own, for the length of a block.

    What the server says arrives `delay_seconds` later. A silent connection stays open and takes
    everything; nothing arrives on the other side, not even its end. New connections work.
    """

    def __init__(self, port: int, *, delay_seconds: float = 0.0) -> None:
        self.target = port
        self.port = 0
        self.delay_seconds = delay_seconds
        #: How often the server has answered: the round trips that clients waited for.
        self.answers = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        #: Nobody else holds them.
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[StreamWriter] = set()
        #: Connections of an earlier one are silent.
        self._generation = 0
        self._word = b""

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def silence(self) -> None:
        """From now on nothing passes on the connections that are open."""
        self._generation += 1

    def silence_at(self, word: bytes) -> None:
        """Fall silent when the server next says that word, which nobody hears any more.

        So a message gets lost that Redis has given away.
        """
        self._word = word

    @property
    def was_said(self) -> bool:
        """Whether the word has been said."""
        return not self._word

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
        """End the silent ones, too."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()
        await asyncio.sleep(0)  # a transport is closed by the loop's next turn

    async def _serve(self, client: StreamReader, to_client: StreamWriter) -> None:
        try:
            server, to_server = await asyncio.open_connection(LOOPBACK, self.target)
        except OSError:
            to_client.close()
            return
        self._writers = {each for each in self._writers if not each.is_closing()}
        self._writers |= {to_client, to_server}
        link = _Link(self, self._generation)
        said: Line = asyncio.Queue()
        for way in (
            link.ask(client, to_server),
            link.hear(server, said),
            link.tell(said, to_client),
        ):
            task = self._loop.create_task(way)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _is_silent(self, generation: int, data: bytes = b"") -> bool:
        """Whether a connection of that generation is, now that the server has said `data`."""
        if self._word and self._word in data:
            self._word = b""
            self.silence()
        return generation != self._generation


class _Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, generation: int) -> None:
        self._proxy, self._generation = proxy, generation
        self._asked = False

    async def ask(self, client: StreamReader, to_server: StreamWriter) -> None:
        """From the client to the server, at once."""
        with suppress(OSError):
            while data := await client.read(65_536):
                self._asked = True
                if not self._is_silent():
                    to_server.write(data)
                    await to_server.drain()
        if not self._is_silent():  # else the other side hears nothing of it, either
            to_server.close()

    async def hear(self, server: StreamReader, said: Line) -> None:
        """What the server says gets on its way."""
        with suppress(OSError):
            while data := await server.read(65_536):
                if not self._is_silent(data):
                    self._proxy.answers += self._asked
                    self._asked = False
                    said.put_nowait((time.monotonic() + self._proxy.delay_seconds, data))
        said.put_nowait(None)

    async def tell(self, said: Line, to_client: StreamWriter) -> None:
        """And arrives."""
        with suppress(OSError):
            while found := await said.get():
                arrives, data = found
                if (wait := arrives - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                to_client.write(data)
                await to_client.drain()
        if not self._is_silent():
            to_client.close()

    def _is_silent(self, data: bytes = b"") -> bool:
        return self._proxy._is_silent(self._generation, data)  # noqa: SLF001 (its other half)
