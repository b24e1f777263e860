"""B1: the time of `user.delete()` for users with few and many dependent rows.

It is compared with a project without relations (the floor), and with a signal handler that deletes
the rows in the other databases at once. No worker runs, because workers are not part of the request
and would compete for the same processors.
"""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from ..lib import rows
from ..lib.result import Result, interleaved, percentile, ratios, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lib.clients import Client
    from ..lib.stage import Stage

#: The number of deletes of one user in each round.
DELETES = 20
#: Variant → settings, and what the client calls first.
VARIANTS = {
    "ours": ("benchmarks.schemas.settings", ""),
    "floor": ("benchmarks.schemas.bare", ""),
    "handler": ("benchmarks.schemas.unkept", "lib.deletes.delete_content_at_once"),
}
#: The first user key of each variant.
FIRST = {"ours": 1_001, "floor": 2_001, "handler": 3_001}


def run(stage: Stage) -> Iterator[Result]:
    """Yield the results of B1."""
    stage.clear()
    sizes = stage.scale.dependants
    for place, size in enumerate(sizes):
        _add_content(FIRST["ours"] + place, size)
    rows.analyze()
    took: dict[tuple[str, int], list[float]] = {}
    with ExitStack() as stack:
        clients = {way: stack.enter_context(stage.client(VARIANTS[way][0])) for way in VARIANTS}
        for way, client in clients.items():
            if first := VARIANTS[way][1]:
                client.ask(first)
            client.ask("lib.deletes.delete", FIRST[way] + len(sizes), DELETES)
        for place, size in enumerate(sizes):
            measured = _size(stage, clients, place, size)
            took.update({(way, size): values for way, values in measured.items()})
    yield from _results(stage, took)


def _size(
    stage: Stage, clients: dict[str, Client], place: int, size: int
) -> dict[str, list[float]]:
    """Return all milliseconds of each variant."""
    every: dict[str, list[float]] = {way: [] for way in VARIANTS}

    def measure(way: str) -> float:
        key = FIRST[way] + place
        if way == "handler":
            _add_content(key, size)
        times = 1 if way == "handler" else DELETES
        took: list[float] = clients[way].ask("lib.deletes.delete", key, times)
        every[way] += took
        return statistics.median(took)

    stage.tell(f"{size:,} dependants, milliseconds")
    interleaved(stage.scale.rounds, {way: partial(measure, way) for way in VARIANTS}, stage.tell)
    return every


def _results(stage: Stage, took: dict[tuple[str, int], list[float]]) -> Iterator[Result]:
    sizes = stage.scale.dependants
    for size in sizes:
        ours, floor = _medians(took["ours", size]), _medians(took["floor", size])
        pairs = ratios(ours, floor)
        detail = {way: spread(took[way, size]) for way in VARIANTS}
        detail["p95"] = {way: percentile(took[way, size]) for way in ("ours", "floor")}
        title = f"user.delete() of a user with {size:,} dependants beside one without relations"
        yield Result.of(_name(size), title, pairs, 1.15, detail=detail)
    tails = {
        way: [
            percentile(ms for size in sizes for ms in _rounds(took[way, size])[number])
            for number in range(stage.scale.rounds)
        ]
        for way in ("ours", "floor")
    }
    title = "p95 of all these beside that of the floor"
    yield Result.of("B1.p95", title, ratios(tails["ours"], tails["floor"]), 1.15)
    for size in sizes:
        floor = _medians(took["floor", size])
        title = f"the handler that deletes {size:,} dependants at once beside the floor"
        yield Result.of(f"B1.handler.{size}", title, ratios(took["handler", size], floor), None)


def _rounds(took: list[float]) -> list[list[float]]:
    return [took[start : start + DELETES] for start in range(0, len(took), DELETES)]


def _medians(took: list[float]) -> list[float]:
    return [statistics.median(values) for values in _rounds(took)]


def _name(size: int) -> str:
    return f"B1.{size}" if size else "B1"


def _add_content(key: int, size: int) -> None:
    """Add `size` rows to a user: 30 % posts, 60 % comments, 10 % orders."""
    posts = size * 3 // 10
    rows.content(range(key, key + 1), posts=posts, comments=2, orders=size - 3 * posts)
