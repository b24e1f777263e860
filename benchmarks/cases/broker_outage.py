"""B2: `user.delete()` beside a broker that is ill, and beside one that is well."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from apps.integrity.models import Deletion
from sandbox.environment import BROKER
from tests.chaos.faults.brokers import FAULTS

from ..lib.result import Result, interleaved, percentile, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lib.clients import Client
    from ..lib.stage import Stage

ILL = ("refused", "silent", "frozen")
WELL = "well"
#: Deletes of one turn: more than a second of them, so that every retry falls into one.
DELETES = 40
FIRST = {name: 1_000 * place for place, name in enumerate((WELL, *ILL), start=1)}


def run(stage: Stage) -> Iterator[Result]:
    """Each fault in turns with the healthy broker."""
    stage.clear()
    for name in ILL:
        with ExitStack() as stack:
            broker = stack.enter_context(FAULTS[name](stage.folder()))
            clients = {
                WELL: stack.enter_context(stage.client()),
                name: stack.enter_context(stage.client(env={BROKER: broker.url})),
            }
            for each, client in clients.items():
                client.ask("lib.deletes.delete", FIRST[each], 1)
            if broker.strike is not None:
                broker.strike()
            yield _beside(stage, name, clients)


def _beside(stage: Stage, name: str, clients: dict[str, Client]) -> Result:
    before = Deletion.objects.count()
    took = interleaved(
        stage.scale.rounds,
        {each: partial(_p95, client, FIRST[each]) for each, client in clients.items()},
        stage.tell,
    )
    logged = Deletion.objects.count() - before
    if logged != 2 * DELETES * stage.scale.rounds:
        raise AssertionError(f"{logged} deletions were recorded beside a broker that is {name}")
    added = [ill - well for ill, well in zip(took[name], took[WELL], strict=True)]
    detail = {f"{each}_p95_ms": spread(found) for each, found in took.items()}
    title = f"what a broker that is {name} adds to the p95 of user.delete()"
    result_id = "B2" if name == ILL[0] else f"B2.{name}"
    return Result.of(result_id, title, added, 20, unit="ms", detail=detail)


def _p95(client: Client, user: int) -> float:
    return percentile(client.ask("lib.deletes.delete", user, DELETES))
