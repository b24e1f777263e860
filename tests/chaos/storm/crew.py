"""The processes of a storm: started, killed, suspended, started again as a supervisor would."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from apps.integrity.routing import queue_for
from sandbox.environment import WEB, WORKER, as_role
from sandbox.processes import Process, Record, send, stop_all, tree

from . import scene as scenes
from .plan import BEAT, DELETERS, WORKERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Crew:
    """All processes that delete, insert and work; `environment` is theirs."""

    directory: Path
    environment: Mapping[str, str]
    #: The workers' and beat's beside it: an alias of another name.
    of_workers: dict[str, str] = field(default_factory=dict)
    #: Child database → the alias under which the workers know it.
    aliases: dict[str, str] = field(default_factory=dict)
    members: dict[str, Process] = field(default_factory=dict)
    #: When those that are down are to come back.
    back_at: dict[str, float] = field(default_factory=dict)
    #: Who ended without being killed, and its exit code.
    ended: Counter[str] = field(default_factory=Counter)
    _started: dict[str, float] = field(default_factory=dict)
    _left: list[Record] = field(default_factory=list)

    def start_workers(self) -> None:
        """Start a worker for each queue, two for blog_db, and beat."""
        renamed = {queue_for(alias): queue_for(new) for alias, new in self.aliases.items()}
        for name, known in WORKERS.items():
            queue = renamed.get(known, known)
            options = ["-Q", queue, "-n", f"{name}@%h", "--concurrency=2", "--loglevel=INFO"]
            options += ["--without-gossip", "--without-mingle"]
            self._start(name, WORKER, "celery", "-A", "workers", "worker", *options)
        beat = ("celery", "-A", "workers", "beat", "--pidfile=", "--loglevel=INFO")
        self._start(BEAT, WORKER, *beat)

    def kill_workers(self) -> None:
        """Kill workers and beat for good: who starts them again does so with other settings."""
        for name in (*WORKERS, BEAT):
            self.members[name].kill()
            self.back_at.pop(name, None)

    def start_writers(self) -> None:
        """Start those that delete, insert and restore; they wait for the beginning."""
        for number in range(DELETERS):
            self._start_part(scenes.deleter(number), "deleter")
        self._start_part(scenes.INSERTER, "inserter")
        self._start_part(scenes.RESTORER, "restorer")

    def _start_part(self, name: str, module: str) -> None:
        self._start(name, WEB, f"tests.chaos.storm.{module}", str(self.directory), name)

    def _start(self, name: str, role: str, *argv: str) -> None:
        log = self.directory / f"{name}.log"
        command = [sys.executable, "-m", *argv]
        env = {**os.environ, **self.environment, **(self.of_workers if role == WORKER else {})}
        member = Process(command, log=log, env=as_role(role, env), cwd=ROOT)
        self.members[name] = member.start()
        self._started[name] = time.monotonic()

    @property
    def deleters(self) -> list[str]:
        """Names of the deleters."""
        return [scenes.deleter(number) for number in range(DELETERS)]

    def running(self, names: Iterable[str]) -> list[str]:
        """Those of the names whose process runs."""
        return [name for name in names if self.members[name].running]

    def age(self, name: str) -> float:
        """Seconds since a process was started the last time."""
        return time.monotonic() - self._started[name]

    def finished(self, name: str) -> bool:
        """Whether a process has ended by itself, with success."""
        return self.members[name].poll() == 0 and name not in self.back_at

    def kill(self, name: str, *, whole: bool, back_after: float) -> None:
        """SIGKILL a process, with its children or without; it comes back later."""
        member = self.members[name]
        if whole:
            member.kill()
        else:
            self._left += [Record.of(pid) for pid in tree(member.pid)[1:]]
            send(member.pid, signal.SIGKILL)
        self.back_at[name] = time.monotonic() + back_after

    def tend(self) -> None:
        """Start again what is due; note who ended without being killed."""
        now = time.monotonic()
        for name, member in self.members.items():
            if member.running:
                continue
            if name not in self.back_at and not self.finished(name):
                self.ended[f"{name} ({member.poll()})"] += 1
                self.back_at[name] = now + 0.5
            if self.back_at.get(name, now + 1) <= now:
                del self.back_at[name]
                member.start()
                self._started[name] = now

    def bring_back(self, names: Iterable[str]) -> None:
        """Start again at once what is down."""
        for name in names:
            if name in self.back_at:
                self.back_at[name] = 0.0
        self.tend()

    def stop(self) -> None:
        """Stop everything, in any state, what killed parents left behind as well."""
        stop_all(self.members.values())
        for record in self._left:
            record.end(timeout=5)
