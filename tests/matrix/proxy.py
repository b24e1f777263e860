"""A proxy in front of Redis that can fall silent: a cable that is cut without a word."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Self

ADDRESS = "127.0.0.1"


class Proxy:
    """Passes bytes to and fro, in a thread of its own, until the connections fall silent.

    A silent connection stays open and takes everything; nothing arrives on the other side, not
    even its end. New connections work.
    """

    def __init__(self, port: int) -> None:
        self.target = port
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        #: Connections of an earlier one are silent.
        self._generation = 0
        self._word = b""

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join(10)

    def silence(self) -> None:
        """From now on nothing passes on the connections that are open."""
        self._generation += 1

    def silence_at(self, word: bytes) -> None:
        """Fall silent when Redis next says that word, which nobody hears any more.

        So a message gets lost that Redis has given away.
        """
        self._word = word

    @property
    def was_said(self) -> bool:
        """Whether the word has been said."""
        return not self._word

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, ADDRESS, 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._loop.call_soon(self._loop.stop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream, downstream = await asyncio.open_connection(ADDRESS, self.target)
        except OSError:
            writer.close()
            return
        generation = self._generation
        for way in (
            self._pass(reader, downstream, generation),
            self._pass(upstream, writer, generation, says=True),
        ):
            task = self._loop.create_task(way)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        generation: int,
        *,
        says: bool = False,
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                if says and self._word and self._word in data:
                    self._word = b""
                    self.silence()
                if generation == self._generation:
                    writer.write(data)
                    await writer.drain()
        if generation == self._generation:  # else the other side hears nothing of it, either
            writer.close()
