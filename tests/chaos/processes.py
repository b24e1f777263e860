"""Real workers and their like: started, killed, started again as a supervisor would, waited for."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import Error, connections

from apps.integrity.routing import CONTROL, queue_for
from sandbox import project
from sandbox.environment import WORKER, as_role
from sandbox.processes import Record, eventually, send, stop_all, tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from sandbox.processes import Process

BEAT = "beat"
#: Each worker and its queue: a worker can die, and the database's other one goes on.
WORKERS = {
    "control": CONTROL,
    "blog_db-1": queue_for("blog_db"),
    "blog_db-2": queue_for("blog_db"),
    "shop_db": queue_for("shop_db"),
}


@dataclass
class Crew:
    """The processes of a run; `environment` is theirs besides ours."""

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
            self.start(name, WORKER, *project.worker(f"{name}@%h", queue, "--concurrency=2"))
        self.start(BEAT, WORKER, *project.beat())

    def kill_workers(self) -> None:
        """Kill workers and beat for good: who starts them again does so with other settings."""
        for name in (*WORKERS, BEAT):
            self.members[name].kill()
            self.back_at.pop(name, None)

    def start(self, name: str, role: str, *command: str) -> None:
        """Start a process that logs in as `role`."""
        own = self.of_workers if role == WORKER else {}
        env = as_role(role, {**os.environ, **self.environment, **own})
        self.members[name] = project.process(self.directory, name, *command, env=env).start()
        self._started[name] = time.monotonic()

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

    def until(self, question: Callable[[], bool], seconds: float, *, pause: float = 0.1) -> bool:
        """Wait for a yes, and tend the processes meanwhile; a database may be away."""

        def asked() -> bool:
            self.tend()
            try:
                return question()
            except Error:
                connections.close_all()
                return False

        return eventually(asked, timeout=seconds, pause=pause)

    def stop(self) -> None:
        """Stop everything, in any state, what killed parents left behind as well."""
        stop_all(self.members.values())
        for record in self._left:
            record.end(timeout=5)


def all_answer() -> bool:
    """Whether each worker answers a ping."""
    return project.answering() >= set(WORKERS)
