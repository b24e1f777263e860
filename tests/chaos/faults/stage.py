"""What the experiments share: servers, a crew of real processes, and waiting for them."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import redis
from django.core.management import call_command

from sandbox import tables
from sandbox.processes import ProcessError
from tests.chaos.log import open_work
from tests.chaos.processes import Crew, all_answer
from tests.chaos.storm.plan import DATABASES

from . import people

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sandbox.servers import Redis, Sandbox

    from .scale import Scale

START_SECONDS = 120.0


class Stage:
    """Running servers, the size of everything, and somebody to tell."""

    def __init__(self, sandbox: Sandbox, scale: Scale, say: Callable[[str], None]) -> None:
        self.sandbox, self.scale, self.say = sandbox, scale, say
        self._crew = Crew(sandbox.directory, {})

    @property
    def redis(self) -> Redis:
        """The broker of the project."""
        assert self.sandbox.redis is not None
        return self.sandbox.redis

    @contextmanager
    def broker(self) -> Iterator[redis.Redis]:
        """A client of the broker."""
        with redis.Redis.from_url(self.redis.url, socket_timeout=5) as client:
            yield client

    def prepare(self) -> None:
        """Make the tables."""
        tables.make()

    def clear(self) -> None:
        """Empty every table and the broker."""
        for alias in DATABASES:
            # Without `post_migrate`, which takes seconds: nobody needs permissions here.
            call_command(
                "flush", database=alias, interactive=False, verbosity=0, inhibit_post_migrate=True
            )
        with self.broker() as broker:
            broker.flushall()

    @contextmanager
    def crew(self, environment: Mapping[str, str] | None = None) -> Iterator[Crew]:
        """Beat and the workers of all queues, at work and warm, on empty tables."""
        self.clear()
        self._crew = crew = Crew(self.sandbox.directory, environment or {})
        try:
            crew.start_workers()
            self.ready()
            yield crew
        finally:
            crew.stop()
            self._crew = Crew(self.sandbox.directory, {})

    def ready(self) -> None:
        """Wait until every worker answers and has done something."""
        if not self.until(all_answer, START_SECONDS):
            raise ProcessError("the workers did not start")
        for _ in range(3):
            people.delete(people.born(10))
            if not self.until(lambda: not open_work(), START_SECONDS):
                raise ProcessError("the workers do not work")

    def until(self, question: Callable[[], bool], seconds: float, *, pause: float = 0.02) -> bool:
        """Wait for a yes; whoever of the crew ended by itself is started again meanwhile."""
        return self._crew.until(question, seconds, pause=pause)

    def until_done(self, seconds: float) -> float:
        """Wait until no work is open; gives how long that took, `seconds` if it never came."""
        begin = time.monotonic()
        self.until(lambda: not open_work(), seconds)
        return time.monotonic() - begin
