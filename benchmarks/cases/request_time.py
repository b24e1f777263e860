"""B1: how long `user.delete()` takes, whatever hangs on the user.

Beside it: the same delete in a project without any relation (the floor), and the handler that
deletes the content of other databases at once. No worker runs: what workers do costs the request
nothing, and here they would share its processors.
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

#: Deletes of one user in each round.
DELETES = 20
#: Way → settings, and what the client does first.
WAYS = {
    "ours": ("benchmarks.schemas.settings", ""),
    "floor": ("benchmarks.schemas.bare", ""),
    "handler": ("benchmarks.schemas.unkept", "lib.deletes.delete_content_at_once"),
}
#: Where each way's users begin.
FIRST = {"ours": 1_001, "floor": 2_001, "handler": 3_001}


def run(stage: Stage) -> Iterator[Result]:
    """All of B1."""
    stage.clear()
    sizes = stage.scale.dependants
    for place, size in enumerate(sizes):
        _give(FIRST["ours"] + place, size)
    rows.analyze()
    took: dict[tuple[str, int], list[float]] = {}
    with ExitStack() as stack:
        clients = {way: stack.enter_context(stage.client(WAYS[way][0])) for way in WAYS}
        for way, client in clients.items():
            if first := WAYS[way][1]:
                client.ask(first)
            client.ask("lib.deletes.delete", FIRST[way] + len(sizes), DELETES)
        for place, size in enumerate(sizes):
            found = _size(stage, clients, place, size)
            took.update({(way, size): each for way, each in found.items()})
    yield from _results(stage, took)


def _size(
    stage: Stage, clients: dict[str, Client], place: int, size: int
) -> dict[str, list[float]]:
    """All milliseconds of each way, round after round."""
    every: dict[str, list[float]] = {way: [] for way in WAYS}

    def measure(way: str) -> float:
        key = FIRST[way] + place
        if way == "handler":
            _give(key, size)
        times = 1 if way == "handler" else DELETES
        took: list[float] = clients[way].ask("lib.deletes.delete", key, times)
        every[way] += took
        return statistics.median(took)

    stage.tell(f"{size:,} dependants, milliseconds")
    interleaved(stage.scale.rounds, {way: partial(measure, way) for way in WAYS}, stage.tell)
    return every


def _results(stage: Stage, took: dict[tuple[str, int], list[float]]) -> Iterator[Result]:
    sizes = stage.scale.dependants
    for size in sizes:
        ours, floor = _medians(took["ours", size]), _medians(took["floor", size])
        pairs = ratios(ours, floor)
        detail = {way: spread(took[way, size]) for way in WAYS}
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
    return [statistics.median(each) for each in _rounds(took)]


def _name(size: int) -> str:
    return f"B1.{size}" if size else "B1"


def _give(key: int, size: int) -> None:
    """3 of 10 are posts, 6 are comments, 1 is an order."""
    posts = size * 3 // 10
    rows.content(range(key, key + 1), posts=posts, comments=2, orders=size - 3 * posts)
