"""Histories against both sides: operation by operation, until a difference."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import differences
from .history import History

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .differences import Answer, Different
    from .history import Operation
    from .kinds import Key, Kind, Rows
    from .sides import Sides

#: Deletes of one history, before the next one begins with other models.
DELETES = 12
#: The end of a history: no work may be left, whatever rows say.
SETTLE: Operation = ("settle", {})


@dataclass
class Played:
    """What was seen: deletes by outcome, documented differences by name.

    `worked` are the keys ("OfPlain.cascade") whose rows a delete took, changed or left behind, or
    that refused one; `known` are all that there were.
    """

    operations: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    documented: Counter[str] = field(default_factory=Counter)
    worked: Counter[str] = field(default_factory=Counter)
    known: set[str] = field(default_factory=set)

    def add(self, other: Played) -> None:
        """Count what another one saw, too."""
        self.operations += other.operations
        self.outcomes += other.outcomes
        self.documented += other.documented
        self.worked += other.worked
        self.known |= other.known


class Differs(Exception):
    """The sides differ after the last operation of `history`."""

    def __init__(self, history: list[Operation], operation: int, found: Different) -> None:
        super().__init__(str(found))
        self.history, self.operation, self.found = history, operation, found


def play(sides: Sides, operations: int) -> Played:
    """Play so many deletes, history after history. Raises `Differs`."""
    played, number = Played(), 0
    played.known |= {_name(kind, key) for kind in sides.kinds.values() for key in kind.keys}
    while played.operations < operations:
        number += 1
        play_history(sides, number, operations, played)
    return played


def play_history(sides: Sides, number: int, operations: int, played: Played) -> None:
    """Play the history of that number, until there are so many operations. Raises `Differs`."""
    sides.reset()
    drawn = History(sides.kinds, f"{sides.seed} {number}")
    done: list[Operation] = []
    rows = _step(sides, drawn.keepers(), {}, done, played)
    rows = _step(sides, drawn.first_rows(rows), rows, done, played)
    for _ in range(DELETES):
        delete = drawn.delete(rows)
        if delete is None or played.operations >= operations:
            break
        rows = _step(sides, delete, rows, done, played)
        rows = _step(sides, drawn.more_rows(rows), rows, done, played)
    _step(sides, SETTLE, rows, done, played)


def _step(
    sides: Sides, operation: Operation, before: Rows, done: list[Operation], played: Played
) -> Rows:
    done.append(operation)
    one, spread = _answers(sides, operation)
    if operation[0] == "delete":
        played.operations += 1
        played.outcomes[one["outcome"]] += 1
        played.worked.update(at_work(sides.kinds, before, one))
    if found := differences.difference(one, spread):
        name = differences.documented(one, spread)
        if not name:
            raise Differs(done, played.operations, found)
        played.documented[name] += 1
    rows: Rows = one["rows"]
    return rows


def at_work(kinds: dict[str, Kind], before: Rows, one: Answer) -> set[str]:
    """The keys that a delete was about: whose parents are gone, or that refused it. Pure."""
    after, found = one["rows"], {*one["by"]}
    for name in before:
        for key in kinds[name].keys if after != before else ():
            if key.name in kinds[name].columns:
                parent = kinds[key.parent]
                held = {*parent.held(before, key.target)} - {*parent.held(after, key.target)}
                if held & {*kinds[name].held(before, key.name)}:
                    found.add(_name(kinds[name], key))
    return found


def _name(kind: Kind, key: Key) -> str:
    return f"{kind.name}.{key.name.removesuffix('_id')}"


def replay(sides: Sides, history: Sequence[Operation]) -> Different | None:
    """What differs first when a history is played again, as far as its rows can be there."""
    sides.reset()
    rows: Rows = {}
    for operation in history:
        one, spread = _answers(sides, fitted(sides, operation, rows))
        found = differences.difference(one, spread)
        if found and not differences.documented(one, spread):
            return found
        rows = one["rows"]
    return None


def _answers(sides: Sides, operation: Operation) -> tuple[Answer, Answer]:
    """Both. Where rows differ, work may be left: its reason becomes the spread side's outcome."""
    one, spread = sides.play(operation)
    if one["outcome"] == spread["outcome"] and one["rows"] != spread["rows"]:
        spread = sides.settle()
    return one, spread


def fitted(sides: Sides, operation: Operation, rows: Rows) -> Operation:
    """The operation without what refers to rows that are not there. Pure."""
    if operation[0] != "rows":
        return operation
    known = {name: [list(row) for row in held] for name, held in rows.items()}
    made = []
    for name, values in operation[1]["rows"]:
        fit = _fitted(sides, name, values, known)
        if fit is not None:
            made.append((name, fit))
            sides.kinds[name].remember(sides.kinds, fit, known)
    return "rows", {"rows": made}


def _fitted(
    sides: Sides, name: str, values: dict[str, object], rows: Rows
) -> dict[str, object] | None:
    kind, fit = sides.kinds[name], dict(values)
    for key in kind.keys:
        if fit.get(key.name) in sides.kinds[key.parent].held(rows, key.target):
            continue
        if not key.null:
            return None
        fit.pop(key.name, None)
    if kind.generic:
        parent = sides.kinds.get(str(values.get("content_type_id")))
        if parent is None or str(values.get("object_id")) not in {
            str(key[0]) for key in parent.primary_keys(rows)
        }:
            return None
    return fit
