"""Looks at the workers while a block runs: their memory, and their transactions."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from sandbox.processes import tree
from tests import superuser

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sandbox.processes import Process

PERIOD_SECONDS = 0.05
#: The list of all processes is longer than that of all transactions.
MEMORY_EVERY = 10

OLDEST = """
SELECT extract(epoch FROM clock_timestamp() - xact_start), query
FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
  AND xact_start IS NOT NULL
ORDER BY xact_start LIMIT 1
"""


class Watch:
    """The longest transaction in one database, and how much memory each worker has come to use."""

    def __init__(
        self, members: Mapping[str, Process], database: str, workers: Iterable[str]
    ) -> None:
        self.members, self.database, self.workers = members, database, list(workers)
        self.longest_seconds, self.longest_query = 0.0, ""
        self.before = self._memory()
        self.peak = dict(self.before)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch")

    @property
    def growth(self) -> float:
        """MB by which the worker that grew most has grown, with all its children."""
        return max(self.peak[each] - self.before[each] for each in self.workers)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        number = 0
        with superuser.session(self.database) as own:
            while not self._over.wait(PERIOD_SECONDS):
                for seconds, query in own.execute(OLDEST.encode()).fetchall():
                    found = (float(seconds), query)
                    longest = (self.longest_seconds, self.longest_query)
                    self.longest_seconds, self.longest_query = max(longest, found)
                if number % MEMORY_EVERY == 0:
                    now = self._memory()
                    self.peak = {each: max(self.peak[each], now[each]) for each in now}
                number += 1

    def _memory(self) -> dict[str, float]:
        return {name: sum(map(_resident, tree(self.members[name].pid))) for name in self.workers}


def _resident(pid: int) -> float:
    """MB of memory that a process uses; 0 when it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    found = (line.split() for line in lines if line.startswith("VmRSS:"))
    return sum(int(kilobytes) for _, kilobytes, _ in found) / 1_024
