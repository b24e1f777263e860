"""Start the sample project's processes (workers, beat, web), and ping the workers."""

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
#: A useful warning on a server. Here, tests and the demo often run as root.
IGNORED_WARNING = "ignore:You're running the worker with superuser privileges"


def worker(name: str, queues: str, *options: str) -> list[str]:
    """Return the command of a worker, for `process`. Of options given twice, the last one wins."""
    quiet = ("--without-gossip", "--without-mingle")
    return [*CELERY, "worker", "-n", name, "-Q", queues, "--loglevel=INFO", *quiet, *options]


def beat(*options: str) -> list[str]:
    """Return the command of beat, for `process`."""
    return [*CELERY, "beat", "--pidfile=", "--loglevel=INFO", *options]


def process(
    folder: Path, name: str, *command: str, env: Mapping[str, str], cwd: Path = ROOT
) -> Process:
    """Return the process `python -m COMMAND`, not yet started. It logs to folder/`name`.log."""
    argv = [sys.executable, "-m", *command]
    return Process(argv, log=folder / f"{name}.log", env=env, cwd=cwd)


def run(
    *arguments: str | Path, env: Mapping[str, str] | None = None, seconds: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python with `arguments`, wait until it ends, and return its exit code and output.

    `env` is its whole environment; the default is that of this process.
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
    """Return the names of the workers that answer a ping within `seconds`, without the host.

    Return an empty set if the broker cannot be reached. Django must be set up.
    """
    from redis import RedisError

    from workers.celery import app

    # Open a new connection: one from the pool may have been broken by a restart of Redis.
    with suppress(RedisError, OSError), app.connection_for_write() as connection:
        answers = app.control.inspect(timeout=seconds, connection=connection).ping() or {}
        return {str(node).partition("@")[0] for node in answers}
    return set()


def environment(folder: Path, settings: str = "config.settings") -> dict[str, str]:
    """Return the environment of a local process, without the servers' URLs. Makes folder/tmp."""
    temporary = folder / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    return {
        **for_django(debug=False),
        "DJANGO_SETTINGS_MODULE": settings,
        "LOG_FORMAT": "text",
        # Workers write heartbeat files there. Two runs must not share them.
        "TMPDIR": str(temporary),
        "PYTHONWARNINGS": IGNORED_WARNING,
    }


def forget_servers() -> None:
    """Remove the servers' URLs from the environment."""
    for name in (*VARIABLES.values(), BROKER):
        os.environ.pop(name, None)


@contextmanager
def own_servers(settings: str) -> Iterator[Sandbox]:
    """Start new servers for the block; this process and its children use them with `settings`."""
    forget_servers()
    with servers.running() as sandbox:
        own = {**sandbox.environment, **sandbox.superusers}
        os.environ.update({**environment(sandbox.directory, settings), **own})
        yield sandbox
