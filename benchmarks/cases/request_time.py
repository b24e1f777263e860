"""B1: the time of `user.delete()` for users with few and many dependent rows.

It is compared with a project without relations (the floor), and with a signal handler that deletes
the rows in the other databases at once. No worker runs, because workers are not part of the request
and would compete for the same processors.
"""

from __future__ import annotations

import statistics
from functools import partial
from typing import TYPE_CHECKING

from ..lib import rows
from ..lib.result import Result, interleaved, percentile, ratios, spread
from ..lib.variants import clients_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lib.clients import Client
    from ..lib.stage import Stage

#: The number of deletes of one user in each round.
DELETES = 20
#: The first user key of each variant.
FIRST = {"trigger": 4_001, "signal": 1_001, "floor": 2_001, "handler": 3_001}
#: Way of recording → targets of the median and of the p95.
TARGETS = {"trigger": (1.1, 1.2), "signal": (1.3, 1.45)}


def run(stage: Stage) -> Iterator[Result]:
    """Yield the results of B1."""
    stage.clear()
    sizes = stage.scale.dependants
    for way in TARGETS:
        for place, size in enumerate(sizes):
            _add_content(FIRST[way] + place, size)
    rows.analyze()
    took: dict[tuple[str, int], list[float]] = {}
    with clients_of([*FIRST], stage) as clients:
        for way, client in clients.items():
            client.ask("lib.deletes.delete", FIRST[way] + len(sizes), DELETES)
        for place, size in enumerate(sizes):
            measured = _size(stage, clients, place, size)
            took.update({(way, size): values for way, values in measured.items()})
    for way in TARGETS:
        yield from _results(stage, took, way)
    for size in sizes:
        floor = _medians(took["floor", size])
        title = f"the handler that deletes {size:,} dependants at once beside the floor"
        yield Result.of(f"B1.handler.{size}", title, ratios(took["handler", size], floor), None)


def _size(
    stage: Stage, clients: dict[str, Client], place: int, size: int
) -> dict[str, list[float]]:
    """Return all milliseconds of each variant."""
    every: dict[str, list[float]] = {way: [] for way in FIRST}

    def measure(way: str) -> float:
        key = FIRST[way] + place
        if way == "handler":
            _add_content(key, size)
        times = 1 if way == "handler" else DELETES
        took: list[float] = clients[way].ask("lib.deletes.delete", key, times)
        every[way] += took
        return statistics.median(took)

    stage.tell(f"{size:,} dependants, milliseconds")
    interleaved(stage.scale.rounds, {way: partial(measure, way) for way in FIRST}, stage.tell)
    return every


def _results(stage: Stage, took: dict[tuple[str, int], list[float]], way: str) -> Iterator[Result]:
    sizes, (target, tail_target) = stage.scale.dependants, TARGETS[way]
    for size in sizes:
        pairs = ratios(_medians(took[way, size]), _medians(took["floor", size]))
        detail = {name: spread(took[name, size]) for name in FIRST}
        detail["p95"] = {name: percentile(took[name, size]) for name in (way, "floor")}
        title = (
            f"user.delete() of a user with {size:,} dependants, recorded by {way}, beside one"
            " without relations"
        )
        yield Result.of(_name(way, size), title, pairs, target, detail=detail)
    tails = {
        name: [
            percentile(ms for size in sizes for ms in _rounds(took[name, size])[number])
            for number in range(stage.scale.rounds)
        ]
        for name in (way, "floor")
    }
    title = f"p95 of all these, recorded by {way}, beside that of the floor"
    yield Result.of(f"{_name(way)}.p95", title, ratios(tails[way], tails["floor"]), tail_target)


def _rounds(took: list[float]) -> list[list[float]]:
    return [took[start : start + DELETES] for start in range(0, len(took), DELETES)]


def _medians(took: list[float]) -> list[float]:
    return [statistics.median(values) for values in _rounds(took)]


def _name(way: str, size: int = 0) -> str:
    name = "B1" if way == "trigger" else f"B1.{way}"
    return f"{name}.{size}" if size else name


def _add_content(key: int, size: int) -> None:
    """Add `size` rows to a user: 30 % posts, 60 % comments, 10 % orders."""
    posts = size * 3 // 10
    rows.content(range(key, key + 1), posts=posts, comments=2, orders=size - 3 * posts)
