"""B3: the time to delete many users with `queryset.delete()`, and the cost of recording them."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from apps.integrity.models import Deletion

from ..lib.result import Result, interleaved, ratios, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lib.stage import Stage

#: Variant → settings, and what the client calls first.
VARIANTS = {
    "ours": ("benchmarks.schemas.settings", ""),
    "no-op": ("benchmarks.schemas.bare", "lib.deletes.listen_to_nothing"),
    "insert": ("benchmarks.schemas.bare", "lib.deletes.insert_for_each"),
}


def run(stage: Stage) -> Iterator[Result]:
    """Yield the results of B3."""
    stage.clear()
    parents = stage.scale.parents
    with ExitStack() as stack:
        clients = {way: stack.enter_context(stage.client(VARIANTS[way][0])) for way in VARIANTS}
        for way, client in clients.items():
            if first := VARIANTS[way][1]:
                client.ask(first)
            client.ask("lib.deletes.delete_all", 1, 100)
        before = Deletion.objects.count()
        took = interleaved(
            stage.scale.rounds,
            {
                way: partial(client.ask, "lib.deletes.delete_all", 1, parents)
                for way, client in clients.items()
            },
            stage.tell,
        )
    recorded = Deletion.objects.count() - before
    if recorded != 2 * parents * stage.scale.rounds:
        raise AssertionError(f"{recorded:,} deletions were recorded")
    detail = {"seconds": {way: spread(values) for way, values in took.items()}}
    title = (
        f"queryset.delete() of {parents:,} users beside the same with a receiver that does nothing"
    )
    yield Result.of("B3", title, ratios(took["ours"], took["no-op"]), 1.25, detail=detail)
    title = "the same with one INSERT for each user"
    yield Result.of("B3.insert", title, ratios(took["insert"], took["no-op"]), None)
