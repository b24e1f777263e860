"""From a fault until no work is open; for each fault the slowest of several times."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import transaction

from apps.blog.models import Comment
from apps.integrity.models import Cascade
from apps.integrity.routing import PERIODS, queue_for
from sandbox import environment, project
from sandbox.processes import ProcessError, send
from sandbox.proxy import Proxy
from tests.chaos.log import open_work
from tests.chaos.processes import WORKERS

from . import people
from .bounds import Bound, Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from redis import Redis

    from tests.chaos.processes import Crew

    from .stage import Stage

CHILD_SECONDS = 5.0
WORKER_SECONDS = 15.0
REDIS_SECONDS = 15.0
FLUSH_SECONDS = PERIODS["integrity.dispatch"] + 10.0
HALF_OPEN_SECONDS = 20.0
#: How long it is watched, to tell a late end from none.
WATCHED_SECONDS = 120.0

DATABASE = "blog_db"
USERS = 20
#: The lock timeout of the project ends a wait for a locked row: so a cascade can be missed.
TRIES = 10
WAIT_SECONDS = 10.0
#: A publisher that works needs milliseconds for the next message.
QUIET_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Caught:
    """A process in the middle of cascades: comments are waited for, posts are still to come."""

    worker: str
    pid: int
    users: Sequence[int]

    def cut_off(self) -> int:
        """How many of the cascades it holds."""
        found = people.outcomes(self.users, DATABASE)
        return sum(outcome.state == Cascade.State.RUNNING for _, outcome in found)


def run(stage: Stage) -> Iterator[Bound | Figure]:
    """Every fault, each as often as the scale says."""
    recovery = Recovery(stage)
    with stage.crew() as crew:
        yield from recovery.of("child killed", CHILD_SECONDS, partial(recovery.child, crew))
        yield from recovery.of("worker killed", WORKER_SECONDS, partial(recovery.worker, crew))
        for outage in stage.scale.outages_seconds:
            name = f"Redis back after {outage:.0f} s"
            yield from recovery.of(name, REDIS_SECONDS, partial(recovery.redis, outage), times=1)
        yield from recovery.of("Redis flushed", FLUSH_SECONDS, partial(recovery.flush, crew))
    with Proxy(stage.redis.port) as proxy:
        url = stage.redis.url.replace(str(stage.redis.port), str(proxy.port))
        with stage.crew({environment.BROKER: url}):
            name, fault = "half-open connections", partial(recovery.half_open, proxy)
            yield from recovery.of(name, HALF_OPEN_SECONDS, fault, times=stage.scale.stalls)


class Recovery:
    """The faults; each gives the seconds from it until no work was open."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.cut_off = 0

    def of(
        self, name: str, limit: float, fault: Callable[[], float], *, times: int = 0
    ) -> Iterator[Bound | Figure]:
        """The slowest of its repetitions, and how many cascades were cut off in all."""
        self.cut_off = 0
        seconds = []
        for _ in range(times or self.stage.scale.repetitions):
            seconds.append(fault())
            self.stage.say(f"{name}: {seconds[-1]:.1f} s")
        if self.cut_off:
            yield Figure(f"{name}: running cascades cut off", self.cut_off)
        yield Bound(f"{name}: until all is done", max(seconds), limit, "s")

    def child(self, crew: Crew) -> float:
        """SIGKILL for the prefork child that is in the middle of a cascade."""
        with self._caught(crew) as caught:
            send(caught.pid, signal.SIGSTOP)  # nothing changes between the look and the kill
            self.cut_off += _some(caught.cut_off())
            send(caught.pid, signal.SIGKILL)
        return self.stage.until_done(WATCHED_SECONDS)

    def worker(self, crew: Crew) -> float:
        """SIGKILL for its whole worker, while another one serves the same queue."""
        with self._caught(crew) as caught:
            crew.members[caught.worker].freeze()
            self.cut_off += _some(caught.cut_off())
            crew.kill(caught.worker, whole=True, back_after=10 * WATCHED_SECONDS)
        seconds = self.stage.until_done(WATCHED_SECONDS)
        crew.bring_back([caught.worker])
        self.stage.ready()
        return seconds

    def redis(self, outage_seconds: float) -> float:
        """Redis stopped for so long, with deletes meanwhile; the time runs from its return."""
        with self.stage.redis.stopped():
            ends = time.monotonic() + outage_seconds
            people.delete(people.born(USERS))
            self.stage.until(lambda: time.monotonic() >= ends, outage_seconds + 1)
            _some(open_work())
        seconds = self.stage.until_done(WATCHED_SECONDS)
        self.stage.ready()
        return seconds

    def flush(self, crew: Crew) -> float:
        """FLUSHALL after the last delete, before any worker has read a message."""
        with self.stage.broker() as broker:
            for name in WORKERS:
                crew.members[name].freeze()
            try:
                # Else a frozen worker still gets the first message, which it has asked for.
                for client in broker.client_list():
                    if client["cmd"] == "brpop":
                        broker.client_kill_filter(_id=client["id"])
                people.delete(people.born(USERS))
                if not self._published(broker):
                    raise ProcessError("no wake-up came before the flush")
                broker.flushall()
            finally:
                for name in WORKERS:
                    crew.members[name].thaw()
        _some(open_work())
        return self.stage.until_done(WATCHED_SECONDS)

    def _published(self, broker: Redis) -> bool:
        """Wait for the wake-ups, until no further one comes."""
        ends, number, since = time.monotonic() + WAIT_SECONDS, 0, time.monotonic()
        while time.monotonic() < ends:
            if (now := sum(map(broker.llen, project.QUEUES))) != number:
                number, since = now, time.monotonic()
            if number and time.monotonic() > since + QUIET_SECONDS:
                return True
            time.sleep(0.02)
        return False

    def half_open(self, proxy: Proxy) -> float:
        """Connections between workers and broker go dead; deletes follow at once."""
        users = people.born(USERS)
        proxy.silence()
        begin = time.monotonic()
        people.delete(users)
        self.stage.until_done(WATCHED_SECONDS)
        seconds = time.monotonic() - begin
        self.stage.ready()
        return seconds

    @contextmanager
    def _caught(self, crew: Crew) -> Iterator[Caught]:
        """Delete users of whom one's comment is locked by us, until a process waits for it.

        The lock ends with the block.
        """
        for _ in range(TRIES):
            users = people.born(USERS)
            with transaction.atomic(using=DATABASE):
                comments = Comment.objects.using(DATABASE).filter(author=users[0])
                list(comments.select_for_update())
                people.delete(users)
                if found := self._found(crew):
                    yield Caught(*found, users)
                    return
            self.stage.until_done(WATCHED_SECONDS)
        raise ProcessError(f"in {TRIES} tries no process was found in the middle of a cascade")

    def _found(self, crew: Crew) -> tuple[str, int] | None:
        """The process that waits for the lock, once it is the only one that works."""
        ends = time.monotonic() + WAIT_SECONDS
        waited = False
        while time.monotonic() < ends:
            found, waits = _at_work(crew), _somebody_waits()
            if found and waits:
                return found
            if waited and not waits:
                return None  # it has given up
            waited = waits
            time.sleep(0.02)
        return None


def _somebody_waits() -> bool:
    """Whether a session waits for a lock; unlike pg_stat_activity, this is never a cached view."""
    with transaction.get_connection(DATABASE).cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return bool(cursor.fetchone()[0])


def _at_work(crew: Crew) -> tuple[str, int] | None:
    """The one worker and its child that work on the database; None when there are several."""
    from workers.celery import app

    names = [name for name in crew.running(WORKERS) if WORKERS[name] == queue_for(DATABASE)]
    destination = [f"{name}@{os.uname().nodename}" for name in names]
    with app.connection_for_write() as connection:
        inspect = app.control.inspect(destination, timeout=1, connection=connection)
        active: dict[str, list[dict[str, Any]]] = inspect.active() or {}
    found = [
        (node.partition("@")[0], task["worker_pid"])
        for node, tasks in active.items()
        for task in tasks
        if task["name"] == "integrity.cascade"
    ]
    return found[0] if len(found) == 1 else None


def _some(number: int) -> int:
    """The number; a fault that found nothing to cut off proves nothing."""
    if not number:
        raise ProcessError("the fault came when there was nothing to cut off")
    return number
