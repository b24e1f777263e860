"""Start web, a worker for each queue, beat and Flower as child processes, and query them.

Every wait has a time limit. It also ends, with the last log lines, if a child ends by itself.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from apps.integrity.routing import CONTROL, queue_for
from sandbox import environment, project
from sandbox.processes import eventually, free_port, stop_all

from .browser import Browser
from .failure import TookTooLong

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from sandbox.processes import Process
    from sandbox.servers import PostgreSQL

LOOPBACK = "127.0.0.1"
ADMIN = "admin"


@dataclass
class Stage:
    """The project's processes on this machine.

    `password` is the admin's, for the site and for Flower. `servers` has the database servers by
    alias, to make one refuse connections or to restore it; it is empty if the demo did not start
    them.
    """

    directory: Path
    servers: Mapping[str, PostgreSQL] = field(default_factory=dict)
    settings: str = "demo.settings"
    web_address: str = field(default_factory=lambda: f"http://{LOOPBACK}:{free_port()}")
    flower_address: str = field(default_factory=lambda: f"http://{LOOPBACK}:{free_port()}")
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    children: dict[str, Process] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """Return the environment of the children, without the servers' URLs."""
        return project.environment(self.directory, self.settings) | {
            "ALLOWED_HOSTS": f"{LOOPBACK},localhost",
            "DEBUG": "false",
            "HTTPS": "false",
            "FLOWER_URL": self.flower_address,
            "MEDIA_ROOT": str(self.media),
        }

    @property
    def media(self) -> Path:
        """The folder of uploaded files."""
        return self.directory / "media"

    def start_web(self) -> None:
        """Start the web server without waiting until it serves; see `await_web`."""
        address = self.web_address.removeprefix("http://")
        # The control socket is in the home folder; only one server per machine can use it.
        options = ["--threads=4", "--no-control-socket"]
        web = environment.as_role(environment.WEB)
        self._start("web", "gunicorn", "config.wsgi", f"--bind={address}", *options, env=web)

    def await_web(self) -> None:
        """Wait until the web server serves the landing page."""
        self.until("the landing page", lambda: _answers(self.web_address), blame=["web"])

    def start_workers(self) -> None:
        """Start a worker for each queue, and beat, without waiting for them."""
        worker = environment.as_role(environment.WORKER)
        for name, queue in _nodes().items():
            options = ["--concurrency=2", *([] if _may_fork() else ["--pool=threads"])]
            command = project.worker(f"{name}@%h", queue, *options)
            self._start(f"worker-{name}", *command, env=worker)
        self._start("beat", *project.beat(), env=worker)

    def await_workers(self) -> None:
        """Wait until every worker answers a ping."""
        names = _nodes().keys()
        blame = [f"worker-{name}" for name in names]
        what = "the workers to answer a ping"
        self.until(what, lambda: names <= project.answering(0.5), blame=blame)

    def start_flower(self) -> None:
        """Start Flower without waiting for it."""
        port = self.flower_address.rpartition(":")[2]
        options = {
            # It needs the broker, but no database.
            **environment.as_role(environment.WORKER, {**os.environ, **environment.NO_DATABASES}),
            "FLOWER_BASIC_AUTH": f"{ADMIN}:{self.password}",
            "FLOWER_READ_ONLY": "true",
            # Show arguments, too: they are only aliases.
            "FLOWER_TASKS_COLUMNS": "name,args,state,received,started,runtime,worker",
            "FLOWER_MAX_TASKS": "10000",
        }
        argv = ["-A", "workers.flower", "flower", f"--address={LOOPBACK}", f"--port={port}"]
        self._start("flower", "celery", *argv, env=options)

    def await_flower(self) -> None:
        """Wait until Flower shows every worker, which it does when asked to look for them."""
        self.until("Flower to know every worker", self._flower_knows_all, blame=["flower"])

    def _flower_knows_all(self) -> bool:
        return len(self._flower("/api/workers?refresh=1")) == len(_nodes())

    def flower_tasks(self) -> list[dict[str, Any]]:
        """Return the tasks that Flower has seen, from its API."""
        return list(self._flower("/api/tasks?limit=10000").values())

    def _flower(self, path: str) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            browser = Browser(self.flower_address, login=(ADMIN, self.password))
            document: dict[str, Any] = json.loads(browser.get(path).body)
            return document
        return {}

    def until(
        self,
        what: str,
        condition: Callable[[], bool],
        *,
        blame: Sequence[str],
        seconds: float = 60,
        pause: float = 0.05,
    ) -> None:
        """Wait until `condition()` is true, at most `seconds`.

        `blame` names the children whose logs an error shows. `pause` is in seconds.
        Raises TookTooLong, or ProcessError if a child has ended.
        """

        def is_met() -> bool:
            self.check()
            return condition()

        if not eventually(is_met, timeout=seconds, pause=pause):
            tails = "".join(f"\n{name}:\n{self.children[name].tail(10)}" for name in blame)
            raise TookTooLong(f"waited {seconds:g} s for {what}. Last log lines:{tails}")

    def check(self) -> None:
        """Raise ProcessError with the last log lines if a child has ended."""
        for child in self.children.values():
            child.check()

    def stop(self) -> None:
        """Stop all children."""
        stop_all(self.children.values())

    def _start(self, name: str, *argv: str, env: Mapping[str, str]) -> None:
        self.children[name] = project.process(self.directory, name, *argv, env=env).start()


def _nodes() -> dict[str, str]:
    """Return the queue of each worker, by the worker's name."""
    from django.conf import settings

    from apps.integrity.conf import current
    from apps.integrity.conf.steps import place_of

    children = sorted({*settings.DATABASE_ROUTING_RULES.values()})
    steps = {name: queue_for(place_of(name)) for name in current().steps or ()}
    return {CONTROL: CONTROL, **{alias: queue_for(alias) for alias in children}, **steps}


def _may_fork() -> bool:
    """Return whether Celery's default pool works. It needs semaphores, so shared memory."""
    try:
        multiprocessing.Semaphore()
    except OSError:
        return False
    return True


def _answers(address: str) -> bool:
    with suppress(OSError):
        Browser(address).get("/")
        return True
    return False
