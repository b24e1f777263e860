"""The servers, their databases, and client processes."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import redis
from django.conf import settings
from django.db import connections
from django.db.backends.signals import connection_created

from sandbox import environment, roles, tables
from sandbox.processes import Process

from . import clients

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from sandbox.servers import Sandbox

#: Settings of a small production server. They go on the command line of each server, because that
#: overrides ALTER SYSTEM.
POSTGRESQL_SETTINGS = {
    "shared_buffers": "1GB",
    "jit": "off",
    "max_wal_size": "8GB",
    # Commits reach the disk. Otherwise, many small commits would be as cheap as one large one.
    "fsync": "on",
    "full_page_writes": "on",
}
#: A database in which a join has both parents and children.
TOGETHER = "shop_db"
LIMIT_SECONDS = 1_800
#: The tables that `clear` empties, with all tables that refer to them.
TABLES = {
    "default": (
        "auth_user",
        "integrity_cascade",
        "integrity_deletion",
        "integrity_suspect",
        "integrity_scan",
        "integrity_childdatabase",
        "integrity_heartbeat",
    ),
    "blog_db": ("blog_post", "blog_comment", "integrity_tally"),
    "shop_db": ("shop_order", "integrity_tally"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The sizes of a run. `rows` is the number that a scan reads."""

    name: str
    rows: int
    rounds: int = 5
    #: B1: numbers of dependent rows of the user.
    dependants: tuple[int, ...] = (0, 100, 1_000, 10_000, 100_000)
    #: B3: users deleted in one statement.
    parents: int = 10_000
    #: B4: posts of one user, with three comments under each.
    posts: int = 1_000_000
    #: B4.lag: the same, for a server with a standby.
    replicated: int = 250_000
    #: B5: users with a little content each.
    users: int = 10_000
    #: B8: the smallest sizes of posts of one user, users, and rows of a scan.
    growth: tuple[int, int, int] = (30_000, 2_500, 500_000)
    #: B9: milliseconds of latency of each server, and users of one run.
    latencies: tuple[int, ...] = (1, 5, 20)
    scaled: int = 12_000
    #: B10: finished deletions in the log.
    deletions: int = 10_000_000

    @property
    def quick(self) -> bool:
        """Whether this is a short run."""
        return self.name != "full"


FULL = Scale(name="full", rows=5_000_000)
QUICK = Scale(
    name="quick",
    rows=400_000,
    dependants=(0, 100, 1_000, 10_000),
    parents=2_000,
    posts=25_000,
    replicated=75_000,
    users=1_000,
    growth=(4_000, 250, 50_000),
    latencies=(5,),
    scaled=1_000,
    deletions=1_000_000,
)


@dataclass(slots=True)
class Stage:
    """What a benchmark needs. `tell` prints a line of progress."""

    sandbox: Sandbox
    scale: Scale
    tell: Callable[[str], object]
    _probes: int = field(default=0, init=False)

    def prepare(self) -> None:
        """Create the project's tables, and disable the statement timeout of this process."""
        connection_created.connect(_disable_timeout)
        tables.make(run_syncdb=True)
        for server in self.sandbox.postgres.values():
            _allow(server.url)

    def clear(self) -> None:
        """Empty the tables of the project and the queues of the broker."""
        for alias, names in TABLES.items():
            with connections[alias].cursor() as cursor:
                cursor.execute(f"TRUNCATE {', '.join(names)} CASCADE")
        self.forget_messages()

    def forget_messages(self) -> None:
        """Delete the messages of all queues, but keep the queues' bindings."""
        with redis.Redis.from_url(self.sandbox.environment[environment.BROKER]) as broker:
            for queue in settings.CELERY_TASK_QUEUES:
                broker.delete(queue)

    def folder(self) -> Path:
        """Return a new folder in the sandbox's directory."""
        return Path(tempfile.mkdtemp(dir=self.sandbox.directory))

    def client(
        self, settings: str = "benchmarks.schemas.settings", env: Mapping[str, str] | None = None
    ) -> AbstractContextManager[clients.Client]:
        """Run a client with these settings during a block."""
        variables = {"DJANGO_SETTINGS_MODULE": settings, **(env or {})}
        return clients.client(self.folder() / "client.log", variables)

    def probe(
        self, name: str, *given: Any, env: Mapping[str, str] | None = None, **named: Any
    ) -> Any:
        """Return `probes.name(*given, **named)`, called in a new process."""
        process = self.start_probe(name, *given, env=env, **named)
        process.finish(timeout=LIMIT_SECONDS)
        return json.loads(process.log.read_text().splitlines()[-1])

    def start_probe(
        self, name: str, *given: Any, env: Mapping[str, str] | None = None, **named: Any
    ) -> Process:
        """Start the process of a probe without waiting for it."""
        self._probes += 1
        log = self.sandbox.directory / f"probe-{self._probes}-{name}.log"
        argv = [sys.executable, "-m", "benchmarks.lib.probes", name, json.dumps([given, named])]
        return Process(argv, log=log, env={**os.environ, **(env or {})}).start()


def _allow(superuser: str) -> None:
    """Grant the owner what only a superuser can: loading without triggers, and postgres_fdw."""
    with psycopg.connect(superuser, autocommit=True) as session:
        session.execute(
            f"GRANT SET ON PARAMETER session_replication_role TO {roles.OWNER}".encode()
        )
        with suppress(
            psycopg.Error
        ):  # not every installation has it; B7 then skips that comparison
            session.execute("CREATE EXTENSION IF NOT EXISTS postgres_fdw")
            session.execute(
                f"GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO {roles.OWNER}".encode()
            )


def _disable_timeout(connection: Any, **_: Any) -> None:
    """Disable the project's statement timeout, which is meant for requests."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 0")
