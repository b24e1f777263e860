"""A proxy whose connections go dead without an end: kept open, and nothing comes through.

New ones work. So does a firewall that forgets, or a cable that is plugged in elsewhere.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from sandbox.servers import LOOPBACK

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter


class HalfOpen:
    """Forwards to a port of this machine, for the length of a block."""

    def __init__(self, target: int) -> None:
        self.target, self.port = target, 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="half-open")
        #: Set while the connections of the present generation are alive.
        self._dead = asyncio.Event()
        #: Nobody else holds the dead ones, and they must not end.
        self._links: set[asyncio.Task[None] | None] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def stall(self) -> None:
        """Every connection that exists now is dead from here on."""
        done = threading.Event()

        def bury() -> None:
            self._dead.set()
            self._dead = asyncio.Event()
            done.set()

        self._loop.call_soon_threadsafe(bury)
        done.wait()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._link, LOOPBACK, 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()

    async def _link(self, client: StreamReader, to_client: StreamWriter) -> None:
        dead, this = self._dead, asyncio.current_task()
        self._links.add(this)
        with suppress(OSError, asyncio.CancelledError):
            server, to_server = await asyncio.open_connection(LOOPBACK, self.target)
            await asyncio.gather(
                _forward(client, to_server, dead),
                _forward(server, to_client, dead),
            )
        to_client.close()
        self._links.discard(this)


async def _forward(source: StreamReader, target: StreamWriter, dead: asyncio.Event) -> None:
    with suppress(OSError):
        while (data := await source.read(65_536)) and not dead.is_set():
            target.write(data)
            await target.drain()
    if dead.is_set():
        await asyncio.Event().wait()  # neither an end nor an error gets through
    target.close()
