"""The servers, their databases, and clients in processes of their own."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.core.management import call_command
from django.db import connections

from sandbox import environment
from sandbox.processes import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sandbox.servers import Sandbox

#: PostgreSQL as a small production server has it. They go on the command line of each server:
#: what stands there wins over ALTER SYSTEM.
POSTGRESQL_SETTINGS = {"shared_buffers": "1GB", "jit": "off", "max_wal_size": "8GB"}
#: The database of no home: for parents and children side by side.
TOGETHER = "shop_db"
LIMIT_SECONDS = 1_800


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How large a run is."""

    name: str
    rows: int
    rounds: int = 5

    @property
    def quick(self) -> bool:
        """Whether all is to be over soon."""
        return self.name != "full"


FULL = Scale(name="full", rows=5_000_000)
QUICK = Scale(name="quick", rows=1_000_000)


@dataclass(slots=True)
class Stage:
    """What a benchmark needs; `tell` is for progress."""

    sandbox: Sandbox
    scale: Scale
    tell: Callable[[str], object]
    _probes: int = field(default=0, init=False)

    def prepare(self) -> None:
        """Make the project's tables, and let our own connections take their time."""
        for alias in environment.DATABASES:
            call_command("migrate", verbosity=0, database=alias)
            with connections[alias].cursor() as cursor:
                cursor.execute("SET statement_timeout = 0")

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
        argv = [sys.executable, "-m", "benchmarks.probes", name, json.dumps([given, named])]
        return Process(argv, log=log, env={**os.environ, **(env or {})}).start()
