"""Living users write and order, all the time: `DIRECTORY NAME`.

Under posts of everybody, so that comments meet posts that are just being removed.
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

from django.db import Error, connections, transaction

from .scene import Part

if TYPE_CHECKING:
    from tests.chaos.truth import Row

FIRST_KEY = 10_000_000


def main() -> None:
    """Insert until told to stop."""
    part = Part.from_command_line()
    from .population import rows

    writer = Writer(part, list(rows(part.plan)["post"]))
    while not part.scene.given("stop"):
        writer.write()
        time.sleep(part.plan.pause_seconds)


class Writer:
    """Inserts transactions of one to three rows."""

    def __init__(self, part: Part, posts: list[int]) -> None:
        self.part, self.posts = part, posts
        self.draw = part.plan.draw("inserter")
        self.keys = itertools.count(FIRST_KEY)

    def write(self) -> None:
        """One transaction; an error leaves its outcome unknown."""
        from tests.chaos.rows import insert

        kind = self.draw.choice(("post", "comment", "comment", "order"))
        found = [self._row(kind) for _ in range(self.draw.choice((1, 1, 2, 3)))]
        names = [self.part.journal.intend(kind, row=row) for row in found]
        outcome = "committed"
        try:
            with transaction.atomic(using="shop_db" if kind == "order" else "blog_db"):
                for row in found:
                    insert(kind, row)
        except Error as error:
            outcome = type(error).__name__
            connections.close_all()
        for name in names:
            self.part.journal.end(name, outcome)
        if kind == "post" and outcome == "committed":
            self.posts += [row[0] for row in found]

    def _row(self, kind: str) -> Row:
        key, author = next(self.keys), self.draw.choice(self.part.plan.bystanders)
        if kind == "post":
            return key, author, f"Live {key}", "Written during the storm."
        if kind == "comment":
            return key, author, self.draw.choice(self.posts), f"Live {key}."
        return key, author, f"live-{key}", "7.50"


if __name__ == "__main__":
    main()
