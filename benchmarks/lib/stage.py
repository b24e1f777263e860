"""The servers, their databases, and clients in processes of their own."""

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

#: PostgreSQL as a small production server has it. They go on the command line of each server:
#: what stands there wins over ALTER SYSTEM.
POSTGRESQL_SETTINGS = {
    "shared_buffers": "1GB",
    "jit": "off",
    "max_wal_size": "8GB",
    # Commits reach the disk: else many small ones would cost as little as a giant one.
    "fsync": "on",
    "full_page_writes": "on",
}
#: The database of no home: for parents and children side by side.
TOGETHER = "shop_db"
LIMIT_SECONDS = 1_800
#: What `clear` empties; with the users goes what refers to them in their own database.
TABLES = {
    "default": (
        "auth_user",
        "integrity_deletion",
        "integrity_scan",
        "integrity_childdatabase",
        "integrity_heartbeat",
    ),
    "blog_db": ("blog_post", "blog_comment"),
    "shop_db": ("shop_order",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How large a run is: `rows` are those that a scan reads."""

    name: str
    rows: int
    rounds: int = 5
    #: B1: what hangs on the user.
    dependants: tuple[int, ...] = (0, 100, 1_000, 10_000, 100_000)
    #: B3: users that are deleted at once.
    parents: int = 10_000
    #: B4: posts of one user, with three comments under each.
    posts: int = 1_000_000
    #: B5: users with a little content each.
    users: int = 10_000
    #: B8: the smallest sizes: posts of one user, users, rows of a scan.
    growth: tuple[int, int, int] = (30_000, 2_500, 500_000)
    #: B9: milliseconds that each server is away, and users of one run.
    latencies: tuple[int, ...] = (1, 5, 20)
    scaled: int = 12_000
    #: B10: finished deletions in the log.
    deletions: int = 10_000_000

    @property
    def quick(self) -> bool:
        """Whether all is to be over soon."""
        return self.name != "full"


FULL = Scale(name="full", rows=5_000_000)
QUICK = Scale(
    name="quick",
    rows=400_000,
    dependants=(0, 100, 1_000, 10_000),
    parents=2_000,
    posts=25_000,
    users=1_000,
    growth=(4_000, 250, 50_000),
    latencies=(5,),
    scaled=1_000,
    deletions=1_000_000,
)


@dataclass(slots=True)
class Stage:
    """What a benchmark needs; `tell` is for progress."""

    sandbox: Sandbox
    scale: Scale
    tell: Callable[[str], object]
    _probes: int = field(default=0, init=False)

    def prepare(self) -> None:
        """Make the project's tables, and let our own connections take their time."""
        connection_created.connect(_take_time)
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
        """Empty the queues, and leave what the workers know of them."""
        with redis.Redis.from_url(self.sandbox.environment[environment.BROKER]) as broker:
            for queue in settings.CELERY_TASK_QUEUES:
                broker.delete(queue)

    def folder(self) -> Path:
        """A new one, below the sandbox's."""
        return Path(tempfile.mkdtemp(dir=self.sandbox.directory))

    def client(
        self, settings: str = "benchmarks.schemas.settings", env: Mapping[str, str] | None = None
    ) -> AbstractContextManager[clients.Client]:
        """A client with those settings, for the length of a block."""
        variables = {"DJANGO_SETTINGS_MODULE": settings, **(env or {})}
        return clients.client(self.folder() / "client.log", variables)

    def probe(
        self, name: str, *given: Any, env: Mapping[str, str] | None = None, **named: Any
    ) -> Any:
        """What `probes.name(*given, **named)` gives in a fresh process."""
        process = self.begin(name, *given, env=env, **named)
        process.finish(timeout=LIMIT_SECONDS)
        return json.loads(process.log.read_text().splitlines()[-1])

    def begin(
        self, name: str, *given: Any, env: Mapping[str, str] | None = None, **named: Any
    ) -> Process:
        """The same, only started."""
        self._probes += 1
        log = self.sandbox.directory / f"probe-{self._probes}-{name}.log"
        argv = [sys.executable, "-m", "benchmarks.lib.probes", name, json.dumps([given, named])]
        return Process(argv, log=log, env={**os.environ, **(env or {})}).start()


def _allow(superuser: str) -> None:
    """What only a superuser gives the owner: to load a log without its checks, to join abroad."""
    with psycopg.connect(superuser, autocommit=True) as session:
        session.execute(
            f"GRANT SET ON PARAMETER session_replication_role TO {roles.OWNER}".encode()
        )
        with suppress(psycopg.Error):  # not every installation has it: B7 then goes without
            session.execute("CREATE EXTENSION IF NOT EXISTS postgres_fdw")
            session.execute(
                f"GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO {roles.OWNER}".encode()
            )


def _take_time(connection: Any, **_: Any) -> None:
    """The project's timeout is for people who wait."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 0")
