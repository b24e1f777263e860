"""How much the next statement takes on, by the time that the last one took. Pure."""

from __future__ import annotations

#: The fewest rows or keys that a slow database shrinks a statement to.
FEWEST = 50


class Pace:
    """Rows (or keys) of the next statement: halved after a slow one, doubled after a quick one."""

    def __init__(self, rows: int, *, most: int, seconds: float) -> None:
        self.rows, self.most, self.seconds = min(rows, most), most, seconds

    def took(self, seconds: float) -> None:
        """Adapt to the time of the last statement."""
        if seconds > self.seconds:
            self.rows = max(min(FEWEST, self.rows), self.rows // 2)
        elif seconds < self.seconds / 2:
            self.rows = min(self.most, self.rows * 2)
