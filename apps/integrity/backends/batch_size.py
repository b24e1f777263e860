"""How many rows or keys the next statement takes, by the duration of the last step."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: A slow database shrinks a batch to no fewer rows than these.
MIN_ROWS = 50
#: After a quick step, the next batch aims at this share of the time allowed.
TARGET_SHARE = 0.8
#: It grows at most by this factor at once.
MAX_GROWTH = 8
#: After a quick step at the ceiling, the ceiling grows by this factor.
CEILING_GROWTH = 1.25
#: A new relation begins with at most this factor of the first batch, however quick the others are.
MAX_HEAD_START = 10
#: A run begins with the batches of the run before, in this process, if that ended not longer ago.
RECENT_SECONDS = 300.0
#: Database and limits → when a run of this process ended there, the seconds that its last steps
#: aimed at, and their rows by relation.
_recent: dict[tuple[str, int, int, float], tuple[float, float, dict[str, int]]] = {}


def forget() -> None:
    """Begin with the first batch again, everywhere."""
    _recent.clear()


class BatchSize:
    """Rows (or keys) of the next step: half after a slow one, as many as fit after a quick one.

    Note [Round trips]: where the server is far away, a step of few rows takes as long as one of
    many, and half the rows would only make more steps. So the time of the fastest statement seen,
    which is nearly all round trip, is subtracted for each statement of the step, and for BEGIN and
    COMMIT.
    """

    def __init__(self, rows: int, *, most: int, seconds: float, ceiling: int | None = None) -> None:
        """Begin with `rows`, of at most `most`; a step should take no longer than `seconds`.

        `ceiling` is the most rows that earlier runs found possible; None where they found no limit.
        """
        self.most, self.seconds = most, seconds
        self.ceiling = most if ceiling is None else min(most, ceiling)
        self.rows = min(rows, self.ceiling)
        self.fastest = seconds

    def record_step(
        self, seconds: float, *, statements: Sequence[float] = (), full: bool = True
    ) -> None:
        """Adapt to the duration of the last step and of its statements, all in seconds.

        See Note [Round trips]. A step that was not `full` changed fewer rows than it was allowed
        to, so it does not show that more would fit.
        """
        if statements:
            self.fastest = min(self.fastest, *statements)
            seconds -= self.fastest * (len(statements) + 2)
        if seconds > self.seconds:
            self.rows = max(min(MIN_ROWS, self.rows), self.rows // 2)
        elif full and seconds < self.seconds / 2:
            growth = min(TARGET_SHARE * self.seconds / max(seconds, 1e-9), MAX_GROWTH)
            if self.rows == self.ceiling:  # a step at the ceiling was quick: it may be too low
                self.ceiling = min(self.most, int(self.ceiling * CEILING_GROWTH) + 1)
            self.rows = min(self.ceiling, int(self.rows * growth))

    def aim_at(self, seconds: float) -> None:
        """Let a step take no longer than `seconds` from now on."""
        if seconds < self.seconds:
            self.rows = max(min(MIN_ROWS, self.rows), int(self.rows * seconds / self.seconds))
        self.seconds = seconds

    def shrink(self) -> bool:
        """Halve the rows after a step that was too large; return False where it had just one."""
        if self.rows <= 1:
            return False
        self.rows = self.ceiling = self.rows // 2
        return True


class BatchSizes(dict[str, BatchSize]):
    """A batch size for each relation, by its label: rows of one may take longer than of another.

    One that is new to this process begins with the smallest of the others: far from a server, to
    begin again with few rows would take longer than the rows themselves.
    """

    def __init__(
        self,
        rows: int,
        *,
        most: int,
        seconds: float,
        saved: Mapping[str, int] | None = None,
        database: str = "",
    ) -> None:
        """`saved` holds the ceilings that were saved, by relation.

        A run on a `database` that this process has left lately begins where the last one has ended;
        without one, it always begins anew.
        """
        super().__init__()
        self._rows, self._most, self._seconds = rows, most, seconds
        self._saved = dict(saved or {})
        self._place = database, rows, most, seconds
        ended, self._aimed, recent = _recent.get(self._place, (0.0, seconds, dict[str, int]()))
        self._begin = recent if time.monotonic() - ended < RECENT_SECONDS else {}

    def __missing__(self, label: str) -> BatchSize:
        rows, seconds = self._begin.get(label, 0), self._aimed
        if not rows:
            seconds = self._seconds
            smallest = min((size.rows for size in self.values()), default=self._rows)
            rows = min(smallest, self._rows * MAX_HEAD_START)
        size = self[label] = BatchSize(
            rows, most=self._most, seconds=seconds, ceiling=self._saved.get(label)
        )
        size.aim_at(self._seconds)
        return size

    def aim_at(self, seconds: float) -> None:
        """Let a step of any relation take no longer than `seconds` from now on."""
        if seconds != self._seconds:
            self._seconds = seconds
            for size in self.values():
                size.aim_at(seconds)

    def end(self) -> None:
        """Let the next run in this process begin with these batches."""
        if self._place[0]:
            rows = self._begin | {label: size.rows for label, size in self.items()}
            _recent[self._place] = time.monotonic(), self._seconds, rows

    def ceilings_to_save(self) -> dict[str, int] | None:
        """Return the ceilings below the most rows, by relation; None where none has changed."""
        known = {label: size.ceiling for label, size in self.items()}
        if not known:
            return None
        ceilings = self._saved | known
        limited = {label: rows for label, rows in ceilings.items() if rows < self._most}
        return None if limited == self._saved else limited


def timed(durations: list[float], execute: Callable[..., Any], *arguments: Any) -> Any:
    """Run a statement, for Django's `execute_wrapper`; append its seconds to `durations`."""
    began = time.monotonic()
    try:
        return execute(*arguments)
    finally:
        durations.append(time.monotonic() - began)
