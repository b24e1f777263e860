"""B3: the time to delete many users with `queryset.delete()`, and the cost of recording them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..lib.result import Result, interleaved, ratios, spread
from ..lib.variants import clients_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lib.stage import Stage

VARIANTS = ("trigger", "signal", "no-op", "insert")
#: Way of recording → its target.
TARGETS = {"trigger": 1.1, "signal": 1.25}


def run(stage: Stage) -> Iterator[Result]:
    """Yield the results of B3."""
    stage.clear()
    parents = stage.scale.parents
    with clients_of(VARIANTS, stage) as clients:
        for client in clients.values():
            client.ask("lib.deletes.delete_all", 1, 100)
        before = {way: client.ask("lib.deletes.recorded") for way, client in clients.items()}
        took = interleaved(
            stage.scale.rounds,
            {
                way: partial(client.ask, "lib.deletes.delete_all", 1, parents)
                for way, client in clients.items()
            },
            stage.tell,
        )
        for way, times in {"trigger": 1, "signal": 2}.items():  # "insert" shares a log with it
            recorded = clients[way].ask("lib.deletes.recorded") - before[way]
            if recorded != times * parents * stage.scale.rounds:
                raise AssertionError(f"{way}: {recorded:,} deletions were recorded")
    detail = {"seconds": {way: spread(values) for way, values in took.items()}}
    for way, target in TARGETS.items():
        name = "B3" if way == "trigger" else f"B3.{way}"
        title = (
            f"queryset.delete() of {parents:,} users, recorded by {way}, beside the same with a"
            " receiver that does nothing"
        )
        yield Result.of(name, title, ratios(took[way], took["no-op"]), target, detail=detail)
    title = "the same with one INSERT for each user"
    yield Result.of("B3.insert", title, ratios(took["insert"], took["no-op"]), None)
