"""What a scene plays on: users, servers, one worker for all queues, beat, traps and a stopwatch.

The driver is the web process: it deletes users, and its wake-ups go to the scene's own Redis.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
import redis
from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ObjectDoesNotExist
from django.db import Error, connections

from apps.blog.models import Comment, Post
from apps.integrity.models import Deletion
from apps.shop.models import Order
from sandbox import project
from sandbox.environment import WEB, WORKER, as_role
from sandbox.processes import Process, eventually, stop_all
from tests import log_rows
from tests.chaos import log

from .cells import NAMED
from .traps import Traps
from .truth import Truth

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from apps.integrity.models import Cascade, InDatabase
    from sandbox.proxy import Proxy
    from sandbox.servers import PostgreSQL, Redis

#: One for each task that an act holds at the same time.
CHILDREN = 3
#: The machine of a test run may be busy: so much later than promised is still a pass.
INDULGENCE = 3
START_SECONDS = 90.0
#: Between two questions: each costs a query, and the scenes ask side by side.
PAUSE_SECONDS = 0.1
USERS = 60
BYSTANDERS = 5
ENDED = (Deletion.State.CASCADED, Deletion.State.VERIFIED)


class Broken(Exception):
    """Something that a cell promises did not happen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A cell that was shown to hold, and how long it took."""

    cell: str
    seconds: float | None


class Program(Process):
    """One of the project's processes, under traps."""

    def __init__(self, directory: Path, name: str, *argv: str, env: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "tests.chaos.matrix.process", str(directory), *argv]
        super().__init__(
            command,
            log=directory / f"{name}.log",
            env=as_role(WEB if argv[0] == "web" else WORKER, {**os.environ, **env}),
            cwd=project.ROOT,
        )
        self._seen = 0

    def start(self) -> Program:
        self._seen = self.log.stat().st_size if self.log.exists() else 0
        super().start()
        return self

    def ready(self) -> bool:
        """Whether a worker takes messages, as it says itself."""
        return " ready." in self.said()

    def said(self) -> str:
        """What it has logged since its last start."""
        with self.log.open(errors="replace") as log:
            log.seek(self._seen)
            return log.read()


@dataclass
class Stage:
    """Everything that the acts of one scene share."""

    directory: Path
    redis: Redis
    postgres: Mapping[str, PostgreSQL]
    #: Where the workers find Redis.
    broker: str
    proxy: Proxy | None = None
    truth: Truth = field(default_factory=Truth)
    #: Messages in the hands of workers that were killed.
    lost: set[bytes] = field(default_factory=set)
    proofs: list[Proof] = field(default_factory=list)
    _users: list[int] = field(default_factory=list)
    _others: list[Program] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.traps = Traps(self.directory)
        self.client = redis.Redis.from_url(self.redis.url, socket_timeout=2)
        self.worker, self.spare = (self._worker(name) for name in ("worker-1", "worker-2"))
        self.beat = self.program("beat", *project.beat())

    def _worker(self, name: str) -> Program:
        queues = ",".join(project.QUEUES)
        command = project.worker(f"{name}@%h", queues, f"--concurrency={CHILDREN}")
        return self.program(name, *command, env={"BROKER_URL": self.broker})

    def program(self, name: str, *argv: str, env: Mapping[str, str] | None = None) -> Program:
        """A process of the scene, not yet started, and stopped with it."""
        given = {"BROKER_URL": self.redis.url, "REMAP_SIGTERM": "SIGQUIT", **(env or {})}
        made = Program(self.directory, name, *argv, env=given)
        self._others.append(made)
        return made

    # Users

    def people(self) -> None:
        """Insert users, each with posts, comments on them and elsewhere, and orders."""
        User.objects.bulk_create(User(username=f"user-{n}") for n in range(USERS + BYSTANDERS))
        keys = list(User.objects.order_by("pk").values_list("pk", flat=True))
        self.bystanders, self._users = keys[:BYSTANDERS], keys[BYSTANDERS:]
        for key in keys:
            self.give_rows(key)
        self.truth.adopt()

    def give_rows(self, user: int) -> list[Post]:
        """Rows in both child databases; some under posts of others, and of others under theirs."""
        other = self.bystanders[user % BYSTANDERS]
        mine = Post.objects.bulk_create(
            Post(title=f"Post {n}", content="…", author_id=user) for n in range(2)
        )
        under = Post.objects.filter(author_id=other).first()
        Comment.objects.bulk_create(
            Comment(post_id=post.pk, author_id=author, content="…")
            for post in (*mine, *([under] if under else ()))
            for author in (user, other)
        )
        Order.objects.bulk_create(
            Order(order_number=f"{user}-{time.monotonic_ns()}-{n}", customer_id=user, total="9.90")
            for n in range(2)
        )
        return mine

    def take(self, number: int = 1) -> list[int]:
        """Users that no act has used."""
        taken, self._users = self._users[:number], self._users[number:]
        return taken

    def delete(self, users: Collection[int]) -> float:
        """Delete them as a request does; gives the seconds that it took."""
        started = time.monotonic()
        User.objects.filter(pk__in=users).delete()
        took = time.monotonic() - started
        self.truth.gone.update(users)
        return took

    # Waiting and measuring

    def until(
        self,
        question: Callable[[], Any],
        what: str,
        *,
        seconds: float = 30.0,
        about: Iterable[int] = (),
    ) -> None:
        """Wait for a yes. Raises `Broken` after three times those seconds.

        The error tells what the log says `about` those users by then.
        """

        def asked() -> bool:
            try:
                return bool(question())
            except ObjectDoesNotExist:
                return False
            except (Error, redis.RedisError):
                connections.close_all()
                return False

        if not eventually(asked, timeout=INDULGENCE * seconds, pause=PAUSE_SECONDS):
            story = f" ({self.story(about)})" if about else ""
            raise Broken(f"not within {INDULGENCE} x {seconds:g} s: {what}{story}")

    def prove(self, cell: str, seconds: float | None = None) -> None:
        """The cell holds."""
        within = NAMED[cell].within
        if (within is None) != (seconds is None):
            raise Broken(f"{cell} has a bound of {within}, and took {seconds}")
        if seconds is not None and within is not None and seconds > INDULGENCE * within:
            raise Broken(f"{cell} took {seconds:.1f} s instead of {within:g} s")
        self.proofs.append(Proof(cell=cell, seconds=seconds))

    def cascaded(self, cell: str, users: Collection[int], since: dt.datetime) -> None:
        """Wait until all of the users' rows are gone; measure, look, and prove the cell."""
        self._prove_end(cell, users, since, ENDED)

    def verified(self, cell: str, users: Collection[int], since: dt.datetime) -> None:
        """As `cascaded`, up to the proof that no row is left."""
        self._prove_end(cell, users, since, ENDED[1:])

    def _prove_end(
        self, cell: str, users: Collection[int], since: dt.datetime, states: Sequence[str]
    ) -> None:
        self._until_ended(users, states, f"{cell}: ", NAMED[cell].within or 0)
        ends = [getattr(each, f"{states[0]}_at") for each in log.of_users(users)]
        took = max(end for end in ends if end is not None) - since
        self.prove(cell, max(0.0, took.total_seconds()))

    def cascaded_all(self, users: Collection[int], *, seconds: float = 30.0) -> None:
        """Wait until all of the users' rows are gone; no cell's claim."""
        self._until_ended(users, ENDED, "", seconds)

    def _until_ended(
        self, users: Collection[int], states: Sequence[str], cell: str, seconds: float
    ) -> None:
        self.until(
            lambda: sum(each.state in states for each in log.of_users(users)) == len(users),
            f"{cell}users {users} {states[0]}",
            seconds=seconds,
            about=users,
        )
        insist(not (left := self.truth.left(users)), f"{cell}{left}")

    def deletion(self, user: int) -> Deletion:
        """The user's row in the log."""
        return log_rows.deletion_of(user)

    def cascade(self, user: int, database: str) -> InDatabase:
        """What came of the user's deletion in one child database by now."""
        return log_rows.in_database(user, database)

    def miscounted(self, users: Iterable[int]) -> list[str]:
        """Receipts that do not count each row that went with one of those users, and once."""
        return [
            f"user {user}: {counted} in the receipt of {database}, not {rows}"
            for user in users
            for database, rows in self.truth.receipts(user).items()
            if (counted := self.cascade(user, database).rows) != rows
        ]

    def insist_counted(self, users: Iterable[int]) -> None:
        """Whoever died on the way took no count along."""
        wrong = self.miscounted(users)
        insist(not wrong, "; ".join(wrong))

    def held(self, user: int, database: str) -> Cascade:
        """The cascade that holds the user's deletion in one child database now."""
        return log_rows.cascade_of(user, database)

    def story(self, users: Iterable[int]) -> str:
        """What the log says about them, for whoever has to find out."""
        return "; ".join(
            f"{deletion.key}→{each.database}: {each.state}, {each.attempts} attempts,"
            f" {each.reason or 'no reason'}"
            for deletion in log.of_users(users)
            for each in deletion.databases
        )

    def open_stories(self) -> list[str]:
        """What the log says about deletions that are not at their end."""
        ended = (Deletion.State.VERIFIED, Deletion.State.KEPT)
        open_ones = [int(str(each.key)) for each in log.entries() if each.state not in ended]
        return [self.story(open_ones)] if open_ones else []

    # Redis

    def queued(self, queue: str = "integrity") -> int:
        """Messages that wait in a queue."""
        return int(self.client.llen(queue))

    def waiting(self, queue: str = "integrity") -> set[bytes]:
        """Those messages, by the name under which a worker takes them."""
        found = map(json.loads, self.client.lrange(queue, 0, -1))
        return {each["properties"]["delivery_tag"].encode() for each in found}

    def taken(self) -> set[bytes]:
        """Messages that a worker has taken and not acknowledged, or had when it died."""
        return set(self.client.hkeys("unacked"))

    def unacknowledged(self) -> set[bytes]:
        """Those of them that are not a dead worker's."""
        return self.taken() - self.lost

    def quiet(self) -> bool:
        """Whether no message is anywhere, not even a dead worker's."""
        return not any(map(self.queued, project.QUEUES)) and not self.taken()

    def listening(self) -> int:
        """Workers that wait for messages; a sleeping one still does for a second."""
        return int(self.client.info("clients")["blocked_clients"])

    # Processes

    def start(self, *, spare: bool) -> None:
        """Start beat and the worker, and wait until it takes messages."""
        self.with_spare = spare
        self.beat.start()
        self.worker.start()
        if spare:
            self.spare.start()
        self.worker.wait_until_ready(timeout=START_SECONDS)

    def suspend_spare(self) -> None:
        """Wait for the second worker, and put it to sleep with no message in its hands."""
        self.spare.wait_until_ready(timeout=START_SECONDS)

        def asleep() -> bool:
            self.spare.freeze()
            if not self.unacknowledged():
                return True
            self.spare.thaw()
            return False

        self.until(asleep, "the spare worker sleeps, with nothing in its hands")
        # What Redis gives it now would wait with it.
        self.until(lambda: self.client.info("clients")["blocked_clients"] <= 1, "nor in its ears")

    def kill_worker(self) -> None:
        """SIGKILL the worker and its children, whatever they hold."""
        self.worker.kill()
        self.lost |= self.taken()
        self.traps.clear()

    def age_lost(self) -> None:
        """Make the messages of the dead come due now: Redis believes they were taken long ago."""
        index = self.client.zrange("unacked_index", 0, -1)
        if lost := self.lost & set(index):
            self.client.zadd("unacked_index", dict.fromkeys(lost, 1), xx=True)

    def relieve(self, *, last: bool = False) -> None:
        """The spare worker wakes up in place of the one that is gone, and that becomes the spare.

        So a recovery is measured, and not how long this machine needs to start a process. After
        the last time there is no spare worker any more.
        """
        self.spare.thaw()
        self.worker, self.spare = self.spare, self.worker
        self.with_spare = not last
        if self.with_spare:
            self.spare.start()

    def session(self, alias: str) -> psycopg.Connection[Any]:
        """Another application's connection to a database; close it."""
        values = settings.DATABASES[alias]
        return psycopg.connect(
            host=values["HOST"],
            port=values["PORT"],
            user=values["USER"],
            password=values["PASSWORD"],
            dbname=values["NAME"],
        )

    def tidy(self) -> None:
        """After an act that may have failed: no trap, and everything runs."""
        self.traps.clear()
        self.redis.thaw()
        for server in (self.redis, *self.postgres.values()):
            if not server.running:
                server.start()
            server.wait_until_ready()
        connections.close_all()
        for worker in (self.worker, *([self.spare] if self.with_spare else [])):
            worker.thaw()
            if not worker.running:
                worker.start()
        self.worker.wait_until_ready(timeout=START_SECONDS)
        if not self.beat.running and self.beat.poll() is not None:
            self.beat.start()

    def close(self) -> None:
        """Stop all processes of the scene, in any state."""
        self.traps.clear()
        with suppress(redis.RedisError):
            self.client.close()
        for each in self._others:
            each.kill()
        stop_all([self.redis])


def insist(fact: object, what: str) -> None:
    """Raise `Broken` unless it is so."""
    if not fact:
        raise Broken(what)


def now() -> dt.datetime:
    """This machine's clock, which is the databases' too."""
    return dt.datetime.now(dt.UTC)
