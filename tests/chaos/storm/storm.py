"""The course of a storm: calm, rage, the tail, convergence, and the check.

The tail is what a careless storm misses: as long as deletes go on, each wake-up repairs all earlier
losses. So the last deletes come while nobody works, and Redis is flushed right after them.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from typing import TYPE_CHECKING

from django.db import connections

from apps.integrity.routing import queue_for
from sandbox import project, tables
from sandbox.environment import WEB
from sandbox.processes import ProcessError
from tests.chaos import log, rows
from tests.chaos.processes import BEAT, WORKERS, Crew, all_answer
from tests.chaos.truth import CHILD_DATABASES

from . import scene as scenes
from . import states
from .checker import SAVEPOINTS, Checker, Known
from .nemesis import Nemesis
from .plan import ALIAS, DATABASES, RENAMED
from .scene import Scene
from .troubles import show_all_to_writers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sandbox.servers import Sandbox

    from .plan import Plan

#: The promise: no orphan and no open work so long after the last fault.
CONVERGED_SECONDS = 60
#: How long it is watched beyond that, to tell a late one from one that never comes.
WATCHED_SECONDS = 75
PATIENCE_SECONDS = 90

#: How long the workers are watched, to be killed in the middle of their work.
AMBUSH_SECONDS = 20

#: Those that may end by themselves: Celery gives up when a child dies while it starts, and whoever
#: runs it starts it again.
SUPERVISED = (*WORKERS, BEAT)


class Storm:
    """One storm on running servers; `failures` is what was broken so far."""

    def __init__(self, plan: Plan, sandbox: Sandbox, say: Callable[[str], None]) -> None:
        self.plan, self.say = plan, say
        self.scene = Scene(sandbox.directory)
        self.crew = Crew(sandbox.directory, {})
        self.nemesis = Nemesis(plan, sandbox, self.crew)
        self.failures: list[str] = []
        self.cut_off = 0
        self.sandbox = sandbox
        #: The rare states that occurred, each with its number.
        self.states: Counter[str] = Counter()

    def run(self) -> list[str]:
        """All of it; gives the failures."""
        self._prepare()
        self.scene.give("begin")
        self.nemesis.rage()
        connections.close_all()  # their servers have been away
        self._tail()
        self._ambush()
        if self.plan.renames:
            self._rename("blog_db")
        self.calm_since = time.monotonic()
        self._converge()
        self._end()
        self.failures += [f"not shown in time: {it}" for it in self.nemesis.shown.verdicts()]
        self.failures += self._too_mild()
        self.states = states.seen(self.nemesis.windows, self.checker.kept())
        self._report()
        return self.failures

    def _prepare(self) -> None:
        self.plan.write(self.scene.directory)
        tables.make()
        for alias in DATABASES:
            show_all_to_writers(self.sandbox.postgres[alias])
        states.note()
        self.checker = Checker(self.plan, self.scene)
        rows.load(self.checker.original)
        number = sum(map(len, self.checker.original.values())) - self.plan.users
        self.say(f"  {self.plan.users} users with {number} rows; {len(self.plan.faults)} faults")
        self.say(f"  left out: {', '.join(self.plan.left_out)}; renamed: {self.plan.renames}")
        self.crew.start_workers()
        self._start_writers()
        if not self._until(all_answer):
            raise ProcessError("the workers did not start")

    def _start_writers(self) -> None:
        """Start those that delete, insert and restore; they wait for the beginning."""
        for name in (*scenes.DELETER_NAMES, scenes.INSERTER, scenes.RESTORER):
            module = f"tests.chaos.storm.{name.partition('-')[0]}"
            self.crew.start(name, WEB, module, str(self.scene.directory), name)

    def _until(self, question: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> bool:
        return self.crew.until(question, seconds)

    def _tail(self) -> None:
        deleters = scenes.DELETER_NAMES
        if not self._until(lambda: all(self.scene.given(f"{each}.waiting") for each in deleters)):
            self.failures.append("the deleters did not come to their last deletes")
        self.nemesis.silence_workers()
        self.scene.give("tail")
        if not self._until(lambda: all(map(self.crew.finished, deleters)) and self._restored()):
            self.failures.append("the last deletes did not end")
        lost = log.undispatched()
        self.nemesis.flush()
        if self.plan.renames:
            self._rename(RENAMED)
        else:
            self.nemesis.end_silence()
        how = "killed" if self.plan.tail_kills else "suspended"
        self.say(f"  last FLUSHALL with {lost} deletions that no worker had seen, workers {how}")
        if not lost:
            self.failures.append("too mild: nothing was pending at the last FLUSHALL")

    def _rename(self, new: str) -> None:
        """The workers come back with another alias for blog_db, in the middle of their work."""
        old = self.crew.aliases.get("blog_db", "blog_db")
        self.crew.aliases = {} if new == "blog_db" else {"blog_db": new}
        self.crew.of_workers[ALIAS] = self.crew.aliases.get("blog_db", "")
        self.crew.kill_workers()
        words = ("manage.py", "integrity", "rename", old, new, "--alias", "--apply", "--json")
        done = project.run(*words, env={**os.environ, **self.crew.of_workers})
        if done.returncode:
            raise ProcessError(f"rename ended with {done.returncode}: {done.stderr[-2_000:]}")
        changed = json.loads(done.stdout)["changed"]
        self.crew.start_workers()
        self.nemesis.faults[f"{old} renamed {new}"] += 1
        self.say(f"  {old} is {new} now: {changed} rows of the log renamed")

    def _ambush(self) -> None:
        """Kill the workers of each child database in the middle of their work: the last faults."""
        left = {self.crew.aliases.get(alias, alias) for alias in CHILD_DATABASES}
        queues = {alias: queue_for(old) for alias, old in self._old_names(left)}

        def over() -> bool:
            for alias in left & log.running().keys():
                names = [name for name, queue in WORKERS.items() if queue == queues[alias]]
                self.nemesis.kill_workers(names)
                if caught := log.running()[alias]:
                    left.remove(alias)
                self.cut_off += caught
                self.crew.bring_back(names)
            return not (left and log.open_work())

        self.crew.until(over, AMBUSH_SECONDS, pause=0.005)
        self.say(f"  {self.cut_off} cascades were running when their workers were killed")

    def _old_names(self, aliases: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Alias of now → alias as `WORKERS` has it."""
        old = {new: each for each, new in self.crew.aliases.items()}
        return ((alias, old.get(alias, alias)) for alias in aliases)

    def _restored(self) -> bool:
        known = Known.of(self.scene)
        return known.deleted & self.plan.reborn.keys() <= known.reborn

    def _converge(self) -> None:
        if not self._until(self.checker.converged, WATCHED_SECONDS):
            self.failures.append(f"not converged {WATCHED_SECONDS} s after the last fault")
            return
        seconds = time.monotonic() - self.calm_since
        self.say(f"  converged {seconds:.1f} s after the last fault")
        if seconds > CONVERGED_SECONDS:
            self.failures.append(f"converged only after {seconds:.1f} s")
        if not self._until(lambda: not log.unverified()):
            self.failures.append(f"{log.unverified()} deletions were never verified")
        self.say(f"  verified {time.monotonic() - self.calm_since:.1f} s after the last fault")

    def _end(self) -> None:
        """The writers stop; then nothing changes any more, and every row is looked at."""
        self.scene.give("stop")
        writers = (scenes.INSERTER, scenes.RESTORER)
        if not self._until(lambda: all(map(self.crew.finished, writers)), 20):
            self.failures.append("the writers did not stop")
        if not self._until(all_answer, 20) or BEAT not in self.crew.running([BEAT]):
            self.failures.append("not all workers and beat are alive at the end")
        self.failures += self.checker.differences()
        self.failures += [f"blocked: {each}" for each in log.blocked()[:8]]
        strangers = {who: n for who, n in self.crew.ended.items() if _name(who) not in SUPERVISED}
        self.failures += [f"{who} ended by itself" for who in strangers]

    def _too_mild(self) -> Iterator[str]:
        """What did not happen as planned; a storm that spares its subject proves nothing."""
        faults, counts = self.nemesis.faults, self.checker.known.counts
        done = {
            "kills": (self.nemesis.kills.total(), self.plan.kills),
            "FLUSHALL": (faults["FLUSHALL"], 2),
            "Redis restarts": (
                faults["Redis killed"] + faults["Redis stopped"],
                self.plan.redis_restarts,
            ),
            "rollbacks": (counts["deletes rolled back"] + counts[SAVEPOINTS], 1),
            "users inserted again": (counts["users inserted again"], 1),
            "troubles": (len(self.nemesis.shown.clocks), len(self.plan.troubles)),
        }
        for what, (number, wanted) in done.items():
            if number < wanted:
                yield f"too mild: {number} {what} instead of {wanted}"
        yield from self.nemesis.shown.too_mild()

    def _report(self) -> None:
        known = self.checker.known
        gone = len(known.deleted - known.reborn)
        kills = self.nemesis.kills
        self.say(f"  {kills.total()} kills: {_listed(kills)}")
        self.say(f"  other faults: {_listed(self.nemesis.faults)}")
        for line in self.nemesis.shown.lines():
            self.say(f"  {line}")
        self.say(f"  rare states: {_listed(self.states) or 'none'}")
        self.say(f"  {gone} users gone for good; {_listed(known.counts)}")
        self.say(f"  ended by themselves and started again: {_listed(self.crew.ended) or 'none'}")
        accounted, _, removed = self.checker.accounts()
        self.say(f"  receipts account for {accounted} of {removed} removed rows")
        self.say(f"  deletion log: {_listed(log.deletions())}")
        left = {kind: len(of_kind) for kind, of_kind in self.checker.rows.items()}
        self.say(f"  rows at the end: {_listed(Counter(left))}")


def _name(ended: str) -> str:
    return ended.partition(" ")[0]


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{number} x {what}" for what, number in sorted(counts.items()))
