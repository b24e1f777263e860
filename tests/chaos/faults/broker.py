"""The request's side: deletes next to a broker that is ill, and next to one that is well.

Both take turns in the same seconds, so that whatever else the machine does slows both.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sandbox.environment import WEB, as_role
from sandbox.processes import ProcessError
from sandbox.project import ROOT

from . import people
from .bounds import Bound, Figure, most_within, percentile
from .brokers import FAULTS, Broker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .stage import Stage

WELL = "well"
ADDED_SECONDS = 0.02
SLOWEST_SECONDS = 0.7
#: Slower than the baseline by so much is slow; one of them may be in each window.
SLOW_SECONDS, WINDOW_SECONDS = 0.2, 5.0
EXIT_SECONDS = 2.0
PATIENCE_SECONDS = 60.0
HELD_UP_SECONDS = 30.0


@dataclass
class Web:
    """One process that deletes, and what became of its deletes."""

    name: str
    broker: Broker
    process: subprocess.Popen[str]
    keys: list[int]
    started: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    exit_seconds: float = PATIENCE_SECONDS

    @classmethod
    def start(cls, stage: Stage, name: str, broker: Broker, stack: ExitStack, *, users: int) -> Web:
        """Start it with users of its own to delete; it ends with `stack`, if not before."""
        log = stack.enter_context((stage.sandbox.directory / f"web-{name}.log").open("ab"))
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.faults.request"],
                env=as_role(WEB, {**os.environ, "BROKER_URL": broker.url}),
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        )
        stack.callback(process.kill)
        # One more, for the wake-up that comes before the fault.
        return cls(name, broker, process, people.born(users + 1))

    def be_ready(self) -> None:
        """Wait for the start; where the fault hits a connection, let it be made first."""
        if self._hear() != "ready":
            raise ProcessError(f"web-{self.name} did not start")
        first = self.keys.pop()
        if self.broker.strike is not None:
            self._ask(f"delete {first}")
            self.broker.strike()

    def delete(self, keys: Sequence[int]) -> None:
        """Let it delete those users, unless it has been held up for so long that all is clear."""
        if sum(self.seconds) > HELD_UP_SECONDS:
            self.errors += ["not tried any more"] * len(keys)
            return
        for started, seconds, error in json.loads(self._ask(f"delete {' '.join(map(str, keys))}")):
            self.started.append(started)
            self.seconds.append(seconds)
            self.errors += [error] if error else []

    def leave(self) -> float:
        """Let it exit; gives the seconds that it takes."""
        begin = time.monotonic()
        self._send("exit")
        self.process.wait(PATIENCE_SECONDS)
        return time.monotonic() - begin

    def _ask(self, line: str) -> str:
        self._send(line)
        return self._hear()

    def _send(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def _hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


def run(stage: Stage) -> Iterator[Bound | Figure]:
    """Each fault next to a baseline; all of them next to one where the scale says so."""
    stage.clear()
    groups = [list(FAULTS)] if stage.scale.together else [[name] for name in FAULTS]
    for names in groups:
        well, *ill = _measured(stage, names)
        for web in ill:
            yield from figures(well, web)
            yield from bounds(well, web)


def _measured(stage: Stage, names: list[str]) -> list[Web]:
    """Let the well one and those of the faults take turns, then exit."""
    with ExitStack() as stack:
        brokers = {WELL: Broker(stage.redis.url)}
        for name in names:
            brokers[name] = stack.enter_context(FAULTS[name](stage.sandbox.directory))
        webs = [
            Web.start(stage, name, broker, stack, users=stage.scale.deletes)
            for name, broker in brokers.items()
        ]
        for web in webs:
            web.be_ready()
        take_turns(stage, webs)
        for web in webs:
            web.exit_seconds = web.leave()
            if stage.scale.short_lives:
                web.exit_seconds = max(web.exit_seconds, _short_life(stage, web, stack))
    return webs


def _short_life(stage: Stage, web: Web, stack: ExitStack) -> float:
    """The seconds in which a process exits whose only wake-up is still on the way."""
    broker = Broker(web.broker.url)  # it is ill already
    short = Web.start(stage, f"{web.name}-short", broker, stack, users=1)
    short.be_ready()
    short.delete(short.keys)
    return short.leave()


def take_turns(stage: Stage, webs: list[Web]) -> None:
    """Let each of them delete in each round."""
    rounds = stage.scale.rounds
    for number in range(rounds):
        begin = time.monotonic()
        # Nobody is always the first.
        for web in webs if number % 2 else reversed(webs):
            web.delete(web.keys[number::rounds])
        time.sleep(max(0.0, begin + stage.scale.round_seconds - time.monotonic()))


def figures(well: Web, web: Web) -> Iterator[Figure]:
    """Yield what is worth knowing of one next to the baseline."""
    yield Figure(f"{web.name}: p95 of the baseline", 1_000 * percentile(well.seconds), "ms")
    yield Figure(f"{web.name}: slowest of the baseline", 1_000 * max(well.seconds), "ms")
    yield Figure(f"{web.name}: p95", 1_000 * percentile(web.seconds), "ms")
    for name, seconds in (("of the baseline ", well.seconds), ("", web.seconds)):
        yield Figure(f"{web.name}: {name}over 0.3 s", sum(each > 0.3 for each in seconds))
    yield Figure(f"{web.name}: all deletes", sum(web.seconds), "s")


def bounds(well: Web, web: Web) -> Iterator[Bound]:
    """Yield what one must keep next to the baseline."""
    usual = percentile(well.seconds)
    added = percentile(web.seconds) - usual
    slow = (
        at for at, took in zip(web.started, web.seconds, strict=True) if took > usual + SLOW_SECONDS
    )
    yield Bound(f"{web.name}: deletes that failed", len(web.errors), 0)
    yield Bound(f"{web.name}: deletes that are not in the log", people.unlogged(web.keys), 0)
    yield Bound(f"{web.name}: p95 added", 1_000 * added, 1_000 * ADDED_SECONDS, "ms")
    yield Bound(f"{web.name}: slowest", max(web.seconds), SLOWEST_SECONDS, "s")
    yield Bound(f"{web.name}: slow ones within 5 s", most_within(slow, WINDOW_SECONDS), 1)
    yield Bound(f"{web.name}: exit of the process", web.exit_seconds, EXIT_SECONDS, "s")
