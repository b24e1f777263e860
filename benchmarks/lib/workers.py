"""Run the project's Celery workers and beat."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from celery.utils.nodenames import gethostname

from apps.integrity.routing import CONTROL, queue_for
from sandbox import project
from sandbox.environment import WORKER, as_role
from sandbox.processes import ProcessError, eventually, stop_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from sandbox.processes import Process

START_SECONDS = 120.0
ANSWER_SECONDS = 10.0
BEAT = "beat"
#: One process for each queue of the project.
ONE_EACH = {
    "control": (CONTROL, 1),
    "blog_db": (queue_for("blog_db"), 1),
    "shop_db": (queue_for("shop_db"), 1),
}


@dataclass
class Workers:
    """The workers by name. `environment` adds variables to that of this process."""

    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    members: dict[str, Process] = field(default_factory=dict)

    def start(self, workers: Mapping[str, tuple[str, int]]) -> None:
        """Start workers (name → queues, number of processes) and wait until they answer."""
        for name, (queues, processes) in workers.items():
            options = [f"--concurrency={processes}", "--loglevel=WARNING"]
            self._start(name, *project.worker(f"{name}@%h", queues, *options))
        if not eventually(lambda: set(workers) <= project.answering(), timeout=START_SECONDS):
            tails = "\n".join(self.members[name].tail() for name in workers)
            raise ProcessError(f"the workers did not start\n{tails}")

    def start_beat(self) -> None:
        """Start beat."""
        self._start(BEAT, *project.beat("--loglevel=WARNING"))

    def add_consumer(self, name: str, queue: str) -> None:
        """Let a worker consume from another queue."""
        self._control(name, "add_consumer", queue=queue)

    def cancel_consumer(self, name: str, queue: str) -> None:
        """Let a worker stop consuming from a queue."""
        self._control(name, "cancel_consumer", queue=queue)

    def check(self) -> None:
        """Raise `ProcessError` if a process has ended."""
        for member in self.members.values():
            member.check()

    def _control(self, name: str, command: str, **arguments: object) -> None:
        from workers.celery import app

        node = f"{name}@{gethostname()}"
        replies = app.control.broadcast(
            command, arguments=arguments, destination=[node], reply=True, timeout=ANSWER_SECONDS
        )
        if not any("ok" in answer for reply in replies or () for answer in reply.values()):
            raise ProcessError(f"{name} did not {command} {arguments}: {replies}")

    def _start(self, name: str, *command: str) -> None:
        # The benchmark's variables win, such as URLs through a proxy.
        env = {**as_role(WORKER), **self.environment}
        self.members[name] = project.process(self.directory, name, *command, env=env).start()


@contextmanager
def start_workers(
    directory: Path,
    workers: Mapping[str, tuple[str, int]],
    environment: Mapping[str, str] | None = None,
    *,
    beat: bool = True,
) -> Iterator[Workers]:
    """Run these workers during the block, and beat."""
    running = Workers(directory, environment or {})
    try:
        running.start(workers)
        if beat:
            running.start_beat()
        yield running
    finally:
        stop_all(running.members.values())
