"""What must be left of the sample project's rows, and what its log may claim. Pure: no database.

A row is a tuple: its key, the keys of its parents in the order of `PARENTS`, its other columns.
Each relation of the sample project cascades, so a row goes with any of its parents.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from itertools import starmap
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

Row = tuple[Any, ...]
#: Kind → key → row.
Rows = dict[str, dict[int, Row]]

#: Kind → the kinds of its parents; each kind comes after its parents.
PARENTS = {"user": (), "post": ("user",), "comment": ("user", "post"), "order": ("user",)}
CHILDREN = ("post", "comment", "order")
CHILD_DATABASES = ("blog_db", "shop_db")

ENDED = {"verified", "kept"}
#: State of a deletion → the states that its cascades may be in.
CASCADES_OF = {
    "dispatched": {"pending", "running", "waiting", "done", "verified", "kept", "blocked"},
    "cascaded": {"done", "verified", "kept"},
    "verified": {"verified"},
    "kept": {"kept", "verified"},
}


class Problem(enum.Enum):
    """What can be wrong with a row."""

    GONE = "living {} gone"
    LEFT = "deleted {} left"
    CHANGED = "{} changed"
    UNKNOWN = "{} from nowhere"
    ORPHAN = "{} without a parent"


class Difference(NamedTuple):
    """One row that is not as it must be."""

    problem: Problem
    kind: str
    key: int

    @property
    def what(self) -> str:
        """What is wrong, in words, without the key."""
        return self.problem.value.format(self.kind)


@dataclass
class Truth:
    """Every row that was put in, and what became of the users since."""

    rows: Rows = field(default_factory=lambda: {kind: {} for kind in PARENTS})
    #: Users that were deleted.
    gone: set[int] = field(default_factory=set)
    #: Users of whom nobody knows whether they were deleted.
    unsure: set[int] = field(default_factory=set)
    #: Kind and key of rows that may be there or not, as long as their parents are.
    optional: set[tuple[str, int]] = field(default_factory=set)

    def doomed(self, users: Iterable[int]) -> set[tuple[str, int]]:
        """Return kind and key of all rows that go with those users, the users included."""
        doomed = {("user", key) for key in users}
        for kind in CHILDREN:
            doomed |= {
                (kind, key)
                for key, row in self.rows[kind].items()
                if not doomed.isdisjoint(_parents(kind, row))
            }
        return doomed

    def differences(self, actual: Rows) -> Iterator[Difference]:
        """Yield every row that must not be there, that is missing, or that is not as it was."""
        fates = self._fates(actual)
        for kind, known in self.rows.items():
            present = actual[kind]
            for key, row in known.items():
                fate = fates[kind][key]
                if key not in present:
                    if fate:
                        yield Difference(Problem.GONE, kind, key)
                elif fate is False:
                    yield Difference(Problem.LEFT, kind, key)
                if present.get(key, row) != row:
                    yield Difference(Problem.CHANGED, kind, key)
            for key in present.keys() - known.keys():
                yield Difference(Problem.UNKNOWN, kind, key)

    def _fates(self, actual: Rows) -> dict[str, dict[int, bool | None]]:
        """Return whether each row must be there; None: it may be there or not."""
        fates: dict[str, dict[int, bool | None]] = {
            "user": {
                key: None if key in self.unsure else key not in self.gone
                for key in self.rows["user"]
            }
        }

        def stays(above: str, parent: int) -> bool:
            fate = fates[above].get(parent)
            return parent in actual[above] if fate is None else fate

        for kind in CHILDREN:
            fates[kind] = {
                key: all(starmap(stays, _parents(kind, row)))
                and (None if (kind, key) in self.optional else True)
                for key, row in self.rows[kind].items()
            }
        return fates


def orphans(rows: Rows) -> Iterator[Difference]:
    """Yield rows that refer to a row that is not there."""
    for kind in CHILDREN:
        for key, row in rows[kind].items():
            if any(parent not in rows[above] for above, parent in _parents(kind, row)):
                yield Difference(Problem.ORPHAN, kind, key)


def of_log(logged: Collection[int], deleted: Collection[int]) -> dict[str, set[int]]:
    """Return the users that the log is wrong about, by what is wrong."""
    return {
        "logged, but not deleted": {*logged} - {*deleted},
        "deleted, but not in the log": {*deleted} - {*logged},
    }


def oddity(state: str, *, claimed: bool, reason: str) -> str:
    """Return what is wrong with a cascade that looks like this, or ""."""
    if state == "running" and not claimed:
        return "runs without a claim"
    if claimed and state not in {"running", "done"}:
        return f"is {state} and still claimed"
    if state in {"waiting", "kept"} and not reason:
        return f"is {state} and does not say why"
    return ""


def holds(state: str, cascades: Collection[tuple[str, str]]) -> bool:
    """Whether a deletion that ended in `state` may claim so: its cascades' databases and states."""
    states = {cascade for _, cascade in cascades}
    fits = state in ENDED and state in states and states <= CASCADES_OF[state]
    return fits and {database for database, _ in cascades} == {*CHILD_DATABASES}


def _parents(kind: str, row: Row) -> Iterator[tuple[str, int]]:
    return zip(PARENTS[kind], row[1:], strict=False)
