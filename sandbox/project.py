"""The sample project's own processes: how a worker, beat and their like are started, and asked."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox import servers
from sandbox.environment import BROKER, VARIABLES, for_django
from sandbox.processes import Process

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sandbox.servers import Sandbox

ROOT = Path(__file__).resolve().parent.parent
QUEUES = ("integrity", "integrity.blog_db", "integrity.shop_db")
CELERY = ("celery", "-A", "workers")
#: Right on a server; here, root is who runs the tests or the demo.
IGNORED_WARNING = "ignore:You're running the worker with superuser privileges"


def worker(name: str, queues: str, *options: str) -> list[str]:
    """Return the command of a worker for `process`; of options given twice, the last one counts."""
    calm = ("--without-gossip", "--without-mingle")
    return [*CELERY, "worker", "-n", name, "-Q", queues, "--loglevel=INFO", *calm, *options]


def beat(*options: str) -> list[str]:
    """Return the command of beat for `process`."""
    return [*CELERY, "beat", "--pidfile=", "--loglevel=INFO", *options]


def process(
    folder: Path, name: str, *command: str, env: Mapping[str, str], cwd: Path = ROOT
) -> Process:
    """Return `python -m COMMAND`, to be started; it logs to `name`.log in `folder`."""
    argv = [sys.executable, "-m", *command]
    return Process(argv, log=folder / f"{name}.log", env=env, cwd=cwd)


def run(
    *arguments: str | Path, env: Mapping[str, str] | None = None, seconds: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python with `arguments` to its end, and return its exit code and what it printed.

    `env` is its whole environment, or else it has ours.
    Raises `subprocess.TimeoutExpired` after `seconds`.
    """
    return subprocess.run(  # noqa: S603 (the project's own programs)
        [sys.executable, *arguments],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )


def answering(seconds: float = 1) -> set[str]:
    """Return the names of the workers that answer a ping within `seconds`, without their host.

    No worker answers while the broker cannot be reached. Django is set up.
    """
    from redis import RedisError

    from workers.celery import app

    # A connection of its own: one of the pool may not know yet that Redis was away.
    with suppress(RedisError, OSError), app.connection_for_write() as connection:
        answers = app.control.inspect(timeout=seconds, connection=connection).ping() or {}
        return {str(node).partition("@")[0] for node in answers}
    return set()


def environment(folder: Path, settings: str = "config.settings") -> dict[str, str]:
    """Return what a process on this machine needs beside the servers' URLs; make folder/tmp."""
    temporary = folder / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    return {
        **for_django(debug=False),
        "DJANGO_SETTINGS_MODULE": settings,
        "LOG_FORMAT": "text",
        # Workers show that they are alive in files there: two runs must not share them.
        "TMPDIR": str(temporary),
        "PYTHONWARNINGS": IGNORED_WARNING,
    }


def forget_servers() -> None:
    """Take the servers that the environment names out of it."""
    for name in (*VARIABLES.values(), BROKER):
        os.environ.pop(name, None)


@contextmanager
def own_servers(settings: str) -> Iterator[Sandbox]:
    """Start new servers, and let this process and its children work on them with `settings`."""
    forget_servers()
    with servers.running() as sandbox:
        own = {**sandbox.environment, **sandbox.superusers}
        os.environ.update({**environment(sandbox.directory, settings), **own})
        yield sandbox
