"""Random rows and random deletes, of a few models at a time. Pure: a seed and the rows so far.

A history is a list of operations, each a command of `process.py`. It keeps to a few models that
refer to each other, so that there are many ways between few rows.
"""

from __future__ import annotations

import random
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

from .zoo.keys import KEEPERS

if TYPE_CHECKING:
    from .kinds import Key, Kind, Rows

Operation = tuple[str, dict[str, Any]]

#: How often a key of that policy is set, where rows to refer to are there. Many PROTECT keys would
#: refuse each delete.
SET_SHARE = {"CASCADE": 0.45, "PROTECT": 0.06, "RESTRICT": 0.1, "DO_NOTHING": 0.1}
OTHER_SHARE = 0.15
MODELS, ROWS, MORE_ROWS, KEYS = (2, 6), (8, 24), (0, 4), (2, 5)


class History:
    """Draws operations on a few of `kinds`."""

    def __init__(self, kinds: dict[str, Kind], seed: str) -> None:
        self.kinds = kinds
        self.random = random.Random(seed)  # noqa: S311 (no secret)
        self.chosen = self._models()
        self.counters: Counter[str] = Counter()

    def keepers(self) -> Operation:
        """The rows that SET and SET_DEFAULT put in place."""
        above = {each for name in self.chosen for each in self.kinds[name].above}
        names = [name for name in self._in_order() if _may_keep(self.kinds[name])]
        names = [name for name in names if name not in above]  # the row of one below is theirs, too
        rows = [(name, self._keeper(self.kinds[name])) for name in names]
        return "rows", {"rows": [each for each in rows if each]}

    def first_rows(self, rows: Rows) -> Operation:
        """Many."""
        return self._rows(rows, self.random.randint(*ROWS))

    def more_rows(self, rows: Rows) -> Operation:
        """A few."""
        return self._rows(rows, self.random.randint(*MORE_ROWS))

    def delete(self, rows: Rows) -> Operation | None:
        """Of one row or of several of a model; None when there is none."""
        free = {name: self._deletable(self.kinds[name], rows) for name in self.chosen}
        names = [name for name in self._in_order() if free.get(name)]
        if not names:
            return None
        # Rows that others refer to come first: what hangs on them is what this is about.
        weights = [
            3 if any(name in self.kinds[o].parents for o in self.chosen) else 1 for name in names
        ]
        name = self.random.choices(names, weights)[0]
        instance = self.random.random() < 1 / 2
        number = 1 if instance else self.random.randint(*KEYS)
        keys = self.random.sample(free[name], min(number, len(free[name])))
        model = self.random.choice((name, *self.kinds[name].proxies))
        how = "instance" if instance else "queryset"
        return "delete", {"model": model, "how": how, "keys": keys}

    def _models(self) -> frozenset[str]:
        """A few models that refer to each other, and those without which they have no row."""
        chosen = {self.random.choice(sorted(self.kinds))}
        wanted = self.random.randint(*MODELS)
        while len(chosen) < wanted:
            near = {
                other.name
                for name in chosen
                for other in self.kinds.values()
                if name in other.parents or other.name in self.kinds[name].parents
            }
            if not near - chosen:
                break
            chosen.add(self.random.choice(sorted(near - chosen)))
        return _with_needed(self.kinds, chosen)

    def _in_order(self) -> list[str]:
        return sorted(self.chosen)

    def _keeper(self, kind: Kind) -> dict[str, Any]:
        return {name: KEEPERS[type_] for name, type_ in kind.values.items()}

    def _deletable(self, kind: Kind, rows: Rows) -> list[list[Any]]:
        return [key for key in kind.primary_keys(rows) if key[0] not in KEEPERS.values()]

    def _rows(self, rows: Rows, number: int) -> Operation:
        """New rows that refer to those that are there, and to each other."""
        known = {name: [list(row) for row in held] for name, held in rows.items()}
        made = []
        names = self._in_order()
        for _ in range(number):
            kind = self.kinds[self.random.choice(names)]
            values = self._row(kind, known)
            if values is not None:
                made.append((kind.name, values))
                kind.remember(self.kinds, values, known)
        return "rows", {"rows": made}

    def _row(self, kind: Kind, rows: Rows) -> dict[str, Any] | None:
        """A row; None where one that it cannot do without is missing."""
        values: dict[str, Any] = {}
        for key in kind.keys:
            free = self._free(kind, key, rows)
            if not free and not key.null:
                return None
            sets = not key.null or self._sets(key)
            if free and sets:
                values[key.name] = self.random.choice(free)
        if kind.pairs and [*values.values()] in _pairs(kind, rows):
            return None
        if kind.generic and not self._point(kind, rows, values):
            return None
        return values | {
            name: self._new(kind, name, type_)
            for name, type_ in kind.values.items()
            if name not in values
        }

    def _sets(self, key: Key) -> bool:
        if key.policy in {"SET", "SET_DEFAULT"} and not _may_keep(self.kinds[key.parent]):
            return False  # what would be put in place is not there
        return self.random.random() < SET_SHARE.get(key.policy, OTHER_SHARE)

    def _free(self, kind: Kind, key: Key, rows: Rows) -> list[Any]:
        """What the key may hold."""
        if key.parent not in self.chosen:
            return []
        there = self.kinds[key.parent].held(rows, key.target)
        taken = kind.held(rows, key.name) if key.unique and key.name in kind.columns else []
        return [each for each in there if each not in taken]

    def _point(self, kind: Kind, rows: Rows, values: dict[str, Any]) -> bool:
        there = [
            (name, key)
            for name in kind.generic
            if name in self.chosen
            for (key,) in self.kinds[name].primary_keys(rows)
        ]
        if not there:
            return False
        name, key = self.random.choice(there)
        values["content_type_id"] = name
        values["object_id"] = str(key) if kind.name == "Note" else key
        return True

    def _new(self, kind: Kind, name: str, type_: str) -> Any:
        """A value that no row had before."""
        if type_ == "uuid":
            return str(uuid.UUID(int=self.random.getrandbits(128), version=4))
        self.counters[kind.root] += 1
        number = self.counters[kind.root] + KEEPERS["number"]
        return f"{name[0]}{number}" if type_ == "text" else number


def _with_needed(kinds: dict[str, Kind], chosen: set[str]) -> frozenset[str]:
    """With the parents of keys that cannot be null; of generic relations with one of them."""
    found: set[str] = set()
    open_ = sorted(chosen)
    while open_:
        name = open_.pop()
        found.add(name)
        kind = kinds[name]
        needed = {key.parent for key in kind.keys if not key.null}
        if kind.generic and not {*kind.generic} & (found | {*open_}):
            needed.add(kind.generic[0])
        open_ += sorted(needed - found - {*open_})
    return frozenset(found)


def _may_keep(kind: Kind) -> bool:
    return all(key.null for key in kind.keys) and not kind.generic and len(kind.pk) == 1


def _pairs(kind: Kind, rows: Rows) -> list[list[Any]]:
    at = [kind.columns.index(key.name) for key in kind.keys]
    return [[row[each] for each in at] for row in rows.get(kind.name, [])]
