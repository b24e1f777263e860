"""Somebody else's point reads while a block runs: what their application would feel."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Self

from django.db import connections

from .result import percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A steady trickle: a reader without a pause would take a processor for itself.
PAUSE_SECONDS = 0.01


class Reads:
    """Reads rows of a table by their keys, in a thread of its own."""

    def __init__(self, alias: str, table: str, keys: Sequence[int]) -> None:
        self._alias, self._keys = alias, keys
        self._statement = f"SELECT * FROM {table} WHERE id = %s"  # noqa: S608 (the name is ours)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, name="reads")
        self.milliseconds: list[float] = []

    @property
    def p95(self) -> float:
        """Milliseconds that 95 of 100 reads did not exceed."""
        return percentile(self.milliseconds)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _read(self) -> None:
        chosen = random.Random(1)  # noqa: S311 - nothing secret
        try:
            with connections[self._alias].cursor() as cursor:
                while not self._over.wait(PAUSE_SECONDS):
                    started = time.perf_counter()
                    cursor.execute(self._statement, [chosen.choice(self._keys)])
                    cursor.fetchall()
                    self.milliseconds.append((time.perf_counter() - started) * 1_000)
        finally:
            connections.close_all()
