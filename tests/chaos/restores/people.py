"""The people of one round, what they have, and what must be left of it. Pure.

Everybody has a post and an order at least. So whoever is back after a restore is either there as
before, with all rows, or was erased: whoever lacks a row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.chaos.truth import CHILDREN, PARENTS

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from tests.chaos.truth import Row, Rows

PEOPLE, LATE = 120, 6
#: Shares of those who are deleted, and of them, who are deleted before the restore.
DOOMED, BEFORE = 0.6, 0.75
#: Keys of a round are from its number times this on; a late or a new row's key is further on.
ROUND = 100_000
LATER, ANEW = 50_000, 70_000


@dataclass
class People:
    """Who and what was put in, and what became of them as far as it is known for certain."""

    rows: Rows
    #: Keys of those whom nobody deletes.
    living: set[int]
    #: In the order in which they are deleted.
    doomed: list[int]
    #: Those whose deletion is in the log, or in the ledger of a database that was not restored.
    gone: set[int] = field(default_factory=set)
    #: Rows of people who came after a restore, with the key of somebody who was erased.
    anew: Rows = field(default_factory=lambda: {kind: {} for kind in PARENTS})

    @classmethod
    def of(cls, draw: random.Random, number: int) -> People:
        """Return the people of a round."""
        base = number * ROUND
        keys = list(range(base + 1, base + 1 + PEOPLE))
        shuffled = draw.sample(keys, len(keys))
        doomed = shuffled[: int(PEOPLE * DOOMED)]
        return cls(rows_of(draw, keys, base), {*keys} - {*doomed}, doomed)

    def add(self, rows: Rows) -> None:
        """Note rows that came later."""
        self.rows = {kind: self.rows[kind] | rows[kind] for kind in PARENTS}

    def problems(self, actual: Rows) -> list[str]:
        """Return every row that is there and must not be, or that is missing."""
        there, new = actual["user"].keys(), self.anew["user"].keys()
        found = [f"living user {key} gone" for key in self.living - there]
        found += [f"erased user {key} there" for key in self._erased() & there]
        for kind in CHILDREN:
            for key, row in self.rows[kind].items():
                owners = {*self._owners(kind, row)}
                if key in actual[kind] and owners - there:
                    found.append(f"{kind} {key} of erased {min(owners - there)} left")
                elif key not in actual[kind] and owners <= there - new:
                    found.append(f"{kind} {key} of living {min(owners)} gone")
        for kind, rows in self.anew.items():
            lacking = [key for key, row in rows.items() if actual[kind].get(key) != row]
            found += [f"new {kind} {key} gone" for key in lacking]
        return found

    def _erased(self) -> set[int]:
        return self.gone - self.anew["user"].keys()

    def _owners(self, kind: str, row: Row) -> Iterator[int]:
        """Yield the users without whom a row goes."""
        for parent, key in zip(PARENTS[kind], row[1:], strict=False):
            if parent == "user":
                yield key
            else:
                yield from self._owners(parent, self.rows[parent][key])


def rows_of(draw: random.Random, keys: list[int], base: int) -> Rows:
    """Return rows of those users, with keys from `base` on."""
    rows: Rows = {"user": {key: (key, f"user-{key}") for key in keys}}
    rows |= {kind: {} for kind in CHILDREN}

    def put(kind: str, *columns: object) -> int:
        key = base + len(rows[kind]) + 1
        rows[kind][key] = (key, *columns)
        return key

    posts = [put("post", key, f"Of {key}", "…") for key in keys for _ in range(draw.randint(1, 3))]
    for key in keys:
        for _ in range(draw.randint(0, 3)):
            put("comment", key, draw.choice(posts), f"By {key}")
        for _ in range(draw.randint(1, 2)):
            number = base + len(rows["order"]) + 1
            put("order", key, f"{key}-{number}", "9.50")
    return rows


def rows_anew(keys: list[int], number: int) -> Rows:
    """Return somebody new under each of those keys, with a post and an order."""
    base = number * ROUND + ANEW
    rows: Rows = {kind: {} for kind in PARENTS}
    for place, key in enumerate(keys, 1):
        rows["user"][key] = (key, f"new-{key}")
        rows["post"][base + place] = (base + place, key, "I am new", "…")
        rows["order"][base + place] = (base + place, key, f"new-{base + place}", "8.00")
    return rows
