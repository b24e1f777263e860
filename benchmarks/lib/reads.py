"""Concurrent point reads during a block, to measure the effect on other applications."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Self

from django.db import connections

from .result import percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Without a pause, the reader would occupy a processor.
PAUSE_SECONDS = 0.01


class Reads:
    """Reads rows of a table by their keys, in its own thread."""

    def __init__(self, alias: str, table: str, keys: Sequence[int]) -> None:
        self._alias, self._keys = alias, keys
        self._statement = f"SELECT * FROM {table} WHERE id = %s"  # noqa: S608 (the name is ours)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="reads")
        self.milliseconds: list[float] = []

    @property
    def p95(self) -> float:
        """The 95th percentile in milliseconds."""
        return percentile(self.milliseconds)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _read(self) -> None:
        chosen = random.Random(1)  # noqa: S311 - not for security
        try:
            with connections[self._alias].cursor() as cursor:
                while not self._stop.wait(PAUSE_SECONDS):
                    started = time.perf_counter()
                    cursor.execute(self._statement, [chosen.choice(self._keys)])
                    cursor.fetchall()
                    self.milliseconds.append((time.perf_counter() - started) * 1_000)
        finally:
            connections.close_all()
