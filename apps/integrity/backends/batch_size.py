"""How much the next statement takes on, by the time that the last one took. Pure but `timed`."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: The fewest rows or keys that a slow database shrinks a statement to.
FEWEST = 50
#: After a quick step, the next one takes on so much of the time, and at most so many times as much.
AIM, LEAP = 0.8, 8
#: After a quick step at the ceiling, the ceiling rises so many times.
RAISE = 1.25
#: A new pace begins at most so many times above the first rows, however quick the others are.
HEAD_START = 10


class Pace:
    """Rows (or keys) of the next step: half after a slow one, as many as fit after a quick one.

    Note [The way to the server]: where it is far away, a step of few rows takes as long as one of
    many, and to halve it would only make more of them. So the time of its fastest statement, which
    hardly worked, is taken off for each statement that was served, and for BEGIN and COMMIT.
    """

    def __init__(self, rows: int, *, most: int, seconds: float, ceiling: int | None = None) -> None:
        """`ceiling` is what earlier steps have shown to be too many, if any did."""
        self.most, self.seconds = most, seconds
        self.ceiling = most if ceiling is None else min(most, ceiling)
        self.rows = min(rows, self.ceiling)
        self.fastest = seconds

    def took(self, seconds: float, *, statements: Sequence[float] = (), full: bool = True) -> None:
        """Adapt to the time of the last step, and of its statements, all in seconds.

        See Note [The way to the server]. A step that was not `full` had fewer rows than it might,
        and proves nothing for more of them.
        """
        if statements:
            self.fastest = min(self.fastest, *statements)
            seconds -= self.fastest * (len(statements) + 2)
        if seconds > self.seconds:
            self.rows = max(min(FEWEST, self.rows), self.rows // 2)
        elif full and seconds < self.seconds / 2:
            times = min(AIM * self.seconds / max(seconds, 1e-9), LEAP)
            if self.rows == self.ceiling:  # it was in time: so may a few more be
                self.ceiling = min(self.most, int(self.ceiling * RAISE) + 1)
            self.rows = min(self.ceiling, int(self.rows * times))

    def shrink(self) -> bool:
        """Halve the rows after a step that was too large; return False where it had just one."""
        if self.rows <= 1:
            return False
        self.rows = self.ceiling = self.rows // 2
        return True


class Paces(dict[str, Pace]):
    """A pace for each relation, by its label: a row of one takes longer than a row of another.

    A new one begins where the slowest of the others is: far from a server, to begin with few rows
    again would take longer than the rows do.
    """

    def __init__(
        self,
        rows: int,
        *,
        most: int,
        seconds: float,
        recall: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        """`recall` returns the ceilings that were remembered, by relation; asked when needed."""
        super().__init__()
        self._rows, self._most, self._seconds = rows, most, seconds
        self._recall = recall
        #: Whether a step of a single row was too large.
        self.exhausted = False

    def __missing__(self, label: str) -> Pace:
        slowest = min((each.rows for each in self.values()), default=self._rows)
        rows = min(slowest, self._rows * HEAD_START)
        pace = self[label] = Pace(
            rows, most=self._most, seconds=self._seconds, ceiling=self._remembered.get(label)
        )
        return pace

    @functools.cached_property
    def _remembered(self) -> dict[str, int]:
        return dict(self._recall())

    def learned(self) -> dict[str, int] | None:
        """Return the ceilings to remember, those below the most rows; None where none changed."""
        known = {label: pace.ceiling for label, pace in self.items()}
        if not known:
            return None
        low = {at: rows for at, rows in (self._remembered | known).items() if rows < self._most}
        return None if low == self._remembered else low


def timed(took: list[float], execute: Callable[..., Any], *arguments: Any) -> Any:
    """Run a statement, as Django's `execute_wrapper` calls it, and add its seconds to `took`."""
    began = time.monotonic()
    try:
        return execute(*arguments)
    finally:
        took.append(time.monotonic() - began)
