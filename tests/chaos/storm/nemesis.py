"""Carries out the faults of a plan, one after the other and several at once, each at its time.

Single-threaded: a fault that lasts puts its own end on the agenda.
"""

from __future__ import annotations

import heapq
import itertools
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import psycopg
import redis

from apps.integrity.routing import queue_for
from sandbox.processes import send, tree
from tests.chaos.processes import BEAT, WORKERS
from tests.chaos.truth import CHILD_DATABASES

from .plan import TROUBLES
from .scene import DELETER_NAMES
from .shown import Shown
from .troubles import HINDERING, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sandbox.processes import Process
    from sandbox.servers import Sandbox
    from tests.chaos.processes import Crew

    from .plan import Fault, Plan
    from .states import Window

#: How long a kill waits for a victim that is just starting, each time.
AGAIN_SECONDS = 0.3
TICK_SECONDS = 0.02
REDIS = "redis"
#: Parents that are hidden with their children are hidden for so long.
PARENTS_SECONDS = 4.0
#: So long after its return a database may still be taken for away.
AFTER_SECONDS = 6.0
#: After so long a worker has started its children, on a busy machine as well.
SETTLED_SECONDS = 8.0
#: A trouble that is not told yet ends after so many seconds all the same.
LONGEST_SECONDS = 20.0
#: Rows are held of users whose deletes come within so many seconds.
HELD_SECONDS = 6.0


@dataclass
class Nemesis:
    """Does bad things to servers and to the crew, and counts them."""

    plan: Plan
    sandbox: Sandbox
    crew: Crew
    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    #: When each database could not be worked on, whatever a worker did.
    windows: list[Window] = field(default_factory=list)
    #: Servers that are stopped or frozen now, and since when.
    away: dict[str, float] = field(default_factory=dict)
    #: Databases that have a trouble now: one at a time.
    _troubled: set[str] = field(default_factory=set)
    _begun: float = 0.0
    _agenda: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)

    def rage(self) -> None:
        """All faults before the tail; every server runs again afterwards."""
        self.shown = Shown(self._can_work)
        begin = self._begun = time.monotonic()
        for fault in self.plan.faults:
            self._at(begin + fault.at, partial(self._strike, fault))
        while self._agenda:
            moment, _, action = self._agenda[0]
            if moment <= time.monotonic():
                heapq.heappop(self._agenda)
                action()
            self.crew.tend()
            if "default" not in self.away:
                self.shown.look()
            time.sleep(TICK_SECONDS)

    def _at(self, moment: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (moment, next(self._order), action))

    def _strike(self, fault: Fault) -> None:
        if fault.kind == "kill":
            self._kill(fault)
        elif fault.kind == "flush":
            self.flush()
        elif fault.kind in {"stop", "freeze"}:
            self._take_away_database(fault)
        elif fault.kind in TROUBLES:
            self._trouble(fault)
        else:
            self._take_away_redis(fault)

    def _kill(self, fault: Fault) -> None:
        """Kill the chosen one, or the next of its kind that can be; if none can, a moment later."""
        names = {"deleter": DELETER_NAMES, "beat": (BEAT,)}.get(fault.target, tuple(WORKERS))
        first = int(fault.pick * len(names))
        # The later digits of the decision are as good a decision as the first ones.
        rest = fault.pick * 1000 % 1
        for name in self.crew.running((*names[first:], *names[:first])):
            if self._killed(name, fault.target, rest):
                return
        self._at(time.monotonic() + AGAIN_SECONDS, partial(self._kill, fault))

    def _killed(self, name: str, target: str, pick: float) -> bool:
        """Kill a process, or one of its children; False when it has none that could be."""
        if target == "child":
            # Celery gives up when a child dies while it starts: that would be a kill of the worker.
            settled = self.crew.age(name) > SETTLED_SECONDS
            children = tree(self.crew.members[name].pid)[1:] if settled else []
            if not children:
                return False
            send(children[int(pick * len(children))], signal.SIGKILL)
            self.kills["child"] += 1
            return True
        whole = target != "worker" or pick < 0.5
        self.crew.kill(name, whole=whole, back_after=0.2 + 2 * pick)
        self.kills[target if whole else "worker, its children left"] += 1
        return True

    def flush(self) -> None:
        """FLUSHALL; a moment later when Redis is away."""
        assert self.sandbox.redis is not None
        try:
            with redis.Redis.from_url(self.sandbox.redis.url, socket_timeout=2) as client:
                client.flushall()
        except redis.RedisError:
            self._at(time.monotonic() + AGAIN_SECONDS, self.flush)
        else:
            self.faults["FLUSHALL"] += 1

    def _take_away_redis(self, fault: Fault) -> None:
        server = self.sandbox.redis
        assert server is not None
        self._leaves(REDIS)
        if fault.kind == "redis-kill":
            server.kill()
        else:
            server.stop()
        self.faults["Redis killed" if fault.kind == "redis-kill" else "Redis stopped"] += 1
        self._at(time.monotonic() + fault.seconds, partial(self._returns, REDIS, server))

    def _take_away_database(self, fault: Fault) -> None:
        server = self.sandbox.postgres[fault.target]
        self._leaves(fault.target)
        if fault.kind == "freeze":
            server.freeze()
        else:
            server.stop()
        what = "frozen" if fault.kind == "freeze" else "stopped"
        self.faults[f"{fault.target} {what}"] += 1
        self._at(time.monotonic() + fault.seconds, partial(self._returns, fault.target, server))

    def _leaves(self, name: str) -> None:
        self.away[name] = time.time()

    def _returns(self, name: str, server: Process) -> None:
        """Let a server that is frozen or stopped go on."""
        if server.running:
            server.thaw()
        else:
            server.start().wait_until_ready()
        self.windows.append((name, self.away.pop(name), time.time() + AFTER_SECONDS))

    def _trouble(self, fault: Fault) -> None:
        """Let a trouble begin; a moment later when something is in the way."""
        now = time.monotonic() - self._begun
        keys = self.plan.due(now, now + HELD_SECONDS) or self.plan.due(0, now)
        if fault.kind == "idle":  # a living user's: nobody waits for the rows
            keys = tuple(self.plan.bystanders[:1])
        trouble = Trouble(fault, self.sandbox.postgres, keys)
        begun = time.time()
        try:
            if (self.away.keys() | self._troubled) & {fault.target} or "default" in self.away:
                raise psycopg.OperationalError
            trouble.begin()
        except psycopg.Error:
            self._heal(trouble)
            self._at(time.monotonic() + AGAIN_SECONDS, partial(self._trouble, fault))
            return
        self._troubled.add(fault.target)
        self.faults[trouble.name] += 1
        if trouble.alias in CHILD_DATABASES:  # the parents' has no row in the status
            self.shown.began(trouble)
        self._at(time.monotonic() + fault.seconds, partial(self._end, trouble, begun))
        if trouble.hides_parents:
            self._at(time.monotonic() + PARENTS_SECONDS, partial(self._show_parents, trouble))

    def _show_parents(self, trouble: Trouble) -> None:
        """Before the end: what the other database has is to be shown as well."""
        try:
            trouble.show_parents()
        except psycopg.Error:
            self._at(time.monotonic() + AGAIN_SECONDS, partial(self._show_parents, trouble))

    def _end(self, trouble: Trouble, begun: float) -> None:
        """Let a trouble end once it is told, or has lasted for too long; tried until it does."""
        early = time.time() - begun < LONGEST_SECONDS
        waits = early and ("default" in self.away or self.shown.undecided(trouble))
        if not waits:
            self.shown.ended(trouble)
        if waits or not self._heal(trouble):
            again = partial(self._end, trouble, begun)
            self._at(time.monotonic() + AGAIN_SECONDS, again)
            return
        self._troubled.discard(trouble.alias)
        if trouble.fault.kind in HINDERING:
            self.windows.append((trouble.alias, begun, time.time() + AFTER_SECONDS))

    def _heal(self, trouble: Trouble) -> bool:
        try:
            trouble.end()
        except psycopg.Error:
            return False
        return True

    def _can_work(self, alias: str) -> bool:
        """Whether a worker of that database could work now."""
        names = [name for name, queue in WORKERS.items() if queue == queue_for(alias)]
        up = any(self.crew.age(each) > SETTLED_SECONDS for each in self.crew.running(names))
        return up and not self.away.keys() & {alias, "default", REDIS}

    def silence_workers(self) -> None:
        """Nobody works and nobody listens to Redis, until `end_silence`."""
        names = [*WORKERS, BEAT]
        if self.plan.tail_kills:
            self.kill_workers(names)
            return
        for name in names:
            self.crew.members[name].freeze()
        # A suspended worker still holds its place in line; a restart takes it away.
        assert self.sandbox.redis is not None
        with self.sandbox.redis.stopped():
            self.faults["Redis stopped"] += 1
        self.faults["all workers suspended"] += 1

    def kill_workers(self, names: Sequence[str]) -> None:
        """Kill them all until they are brought back."""
        for name in names:
            self.crew.kill(name, whole=True, back_after=3600)
            self.kills["beat" if name == BEAT else "worker"] += 1

    def end_silence(self) -> None:
        """Let the workers go on, or start them again."""
        names: Sequence[str] = [*WORKERS, BEAT]
        for name in names:
            self.crew.members[name].thaw()
        self.crew.bring_back(names)
