"""Inserts some deleted users again, under their old keys, with new rows: `DIRECTORY NAME`.

As a restore from a backup does. Every tenth is rolled back once before it is committed.
"""

from __future__ import annotations

import itertools
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.db import Error, connections, transaction

from .deleter import Planned, planned
from .journal import Entry, Reader
from .scene import DELETER_NAMES, Part

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST_KEY = 90_000_000


def main() -> None:
    """Look for deletes that are to be undone, until told to stop."""
    restorer = Restorer(Part.from_command_line())
    while not restorer.part.scene.given("stop"):
        restorer.round()
        time.sleep(0.05)


class Restorer:
    """Follows the journals of the deleters."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.readers = [Reader(part.scene.journal(name)) for name in DELETER_NAMES]
        self.due: dict[int, float] = {}
        self.seen: set[int] = set()
        self.keys = itertools.count(FIRST_KEY)
        self.draw = part.plan.draw("restorer")

    def round(self) -> None:
        """Restore what is due by now."""
        for reader in self.readers:
            for entry in reader.news():
                self._plan(entry)
        for key in [key for key, moment in self.due.items() if moment <= time.monotonic()]:
            del self.due[key]
            self._restore(key)

    def _plan(self, entry: Entry) -> None:
        if entry.kind != "delete" or not entry.committed:
            return
        for key in set(entry.data["doomed"]) & self.part.plan.reborn.keys() - self.seen:
            self.seen.add(key)
            self.due[key] = time.monotonic() + self.part.plan.reborn[key]

    def _restore(self, key: int) -> None:
        from .population import name_of

        user = (key, name_of(key))
        if self.draw.random() < 0.1:
            self._insert("user", user, roll_back=True)
        # An error leaves open whether it was committed; the next try finds out.
        while not self._insert("user", user):
            time.sleep(0.2)
        for kind, row in self._rows(key):
            self._insert(kind, row)

    def _rows(self, key: int) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """New rows of the restored user, and what somebody else writes under them."""
        post, mine, other, order = (next(self.keys) for _ in range(4))
        yield "post", (post, key, f"Back {post}", "Here I am again.")
        yield "comment", (mine, key, post, f"Back {mine}.")
        yield "comment", (other, self.draw.choice(self.part.plan.bystanders), post, "Welcome back.")
        yield "order", (order, key, f"back-{order}", "8.50")

    def _insert(self, kind: str, row: tuple[Any, ...], *, roll_back: bool = False) -> bool:
        from tests.chaos.rows import insert

        name = self.part.journal.intend(kind, row=row)
        outcome = "committed"
        using = {"user": "default", "order": "shop_db"}.get(kind, "blog_db")
        try:
            with transaction.atomic(using=using):
                insert(kind, row)
                planned(roll_back=roll_back)
        except Planned:
            outcome = Planned.__name__
        except Error as error:
            outcome = type(error).__name__
            connections.close_all()
            with suppress(Error):
                outcome = "committed" if kind == "user" and self._lives(row[0]) else outcome
        self.part.journal.end(name, outcome)
        return outcome == "committed"

    def _lives(self, key: int) -> bool:
        from django.contrib.auth.models import User

        return User.objects.filter(pk=key).exists()


if __name__ == "__main__":
    main()
