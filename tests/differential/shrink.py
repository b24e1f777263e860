"""A history that shows a difference → a smaller one that shows it, too: delta debugging."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .history import Operation

#: Where a smaller history is not looked for any longer.
SECONDS = 60.0


def smallest(
    history: Sequence[Operation],
    shows: Callable[[Sequence[Operation]], bool],
    *,
    seconds: float = SECONDS,
) -> list[Operation]:
    """Leave out operations, then rows, keys of a delete and values, while the rest still shows it.

    The first operation makes the rows that policies put in place: it stays.
    """
    until = time.monotonic() + seconds
    head, rest = [*history[:1]], _single(history[1:])

    def shown(some: Sequence[Operation]) -> bool:
        return time.monotonic() < until and shows([*head, *some])

    rest = _without(rest, shown)
    for place in range(len(rest)):
        for smaller in _smaller(rest, place):
            if shown(smaller):
                rest[:] = smaller
    fewer = [_kept(each, rest) for each in head]
    return [*(fewer if shows([*fewer, *rest]) else head), *rest]


def _kept(head: Operation, rest: Sequence[Operation]) -> Operation:
    """The rows that policies put in place, of the models that are left."""
    models = {model for name, more in rest if name == "rows" for model, _ in more["rows"]}
    return "rows", {"rows": [row for row in head[1]["rows"] if row[0] in models]}


def _single(history: Sequence[Operation]) -> list[Operation]:
    """Each row as an operation of its own."""
    found: list[Operation] = []
    for name, arguments in history:
        if name == "rows":
            found += [("rows", {"rows": [row]}) for row in arguments["rows"]]
        else:
            found.append((name, arguments))
    return found


def _without(
    items: list[Operation], shown: Callable[[Sequence[Operation]], bool]
) -> list[Operation]:
    """Leave out ever smaller pieces."""
    size = max(1, len(items) // 2)
    while items:
        start = 0
        while start < len(items):
            rest = items[:start] + items[start + size :]
            if shown(rest):
                items = rest
            else:
                start += size
        if size == 1:
            break
        size //= 2
    return items


def _smaller(history: list[Operation], place: int) -> Iterator[list[Operation]]:
    """The history as it is by then, with less in the operation of that place."""
    name, arguments = history[place]
    if name == "delete":
        for key in arguments["keys"] if len(arguments["keys"]) > 1 else ():
            yield _with(
                history, place, keys=[each for each in _keys(history, place) if each != key]
            )
    if name != "rows":
        return
    ((model, values),) = arguments["rows"]
    for attribute in values:
        if attribute.endswith("_id"):
            now = history[place][1]["rows"][0][1]
            rest = {name: value for name, value in now.items() if name != attribute}
            yield _with(history, place, rows=[(model, rest)])


def _keys(history: list[Operation], place: int) -> list[Any]:
    keys: list[Any] = history[place][1]["keys"]
    return keys


def _with(history: list[Operation], place: int, **changed: Any) -> list[Operation]:
    name, arguments = history[place]
    return [*history[:place], (name, {**arguments, **changed}), *history[place + 1 :]]
