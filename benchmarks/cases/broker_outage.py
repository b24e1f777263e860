"""B2: `user.delete()` with a faulty broker, compared with a healthy one."""

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

FAULTY = ("refused", "silent", "frozen")
HEALTHY = "well"
#: Deletes per measurement: they take more than a second, so that each includes a retry.
DELETES = 40
FIRST = {name: 1_000 * place for place, name in enumerate((HEALTHY, *FAULTY), start=1)}


def run(stage: Stage) -> Iterator[Result]:
    """Yield the results of B2: each fault, interleaved with the healthy broker."""
    stage.clear()
    for name in FAULTY:
        with ExitStack() as stack:
            broker = stack.enter_context(FAULTS[name](stage.folder()))
            clients = {
                HEALTHY: stack.enter_context(stage.client()),
                name: stack.enter_context(stage.client(env={BROKER: broker.url})),
            }
            for kind, client in clients.items():
                client.ask("lib.deletes.delete", FIRST[kind], 1)
            if broker.strike is not None:
                broker.strike()
            yield _compare(stage, name, clients)


def _compare(stage: Stage, name: str, clients: dict[str, Client]) -> Result:
    before = Deletion.objects.count()
    took = interleaved(
        stage.scale.rounds,
        {kind: partial(_p95, client, FIRST[kind]) for kind, client in clients.items()},
        stage.tell,
    )
    logged = Deletion.objects.count() - before
    if logged != 2 * DELETES * stage.scale.rounds:
        raise AssertionError(f"{logged} deletions were recorded with a broker that is {name}")
    added = [faulty - healthy for faulty, healthy in zip(took[name], took[HEALTHY], strict=True)]
    detail = {f"{kind}_p95_ms": spread(values) for kind, values in took.items()}
    title = f"what a broker that is {name} adds to the p95 of user.delete()"
    result_id = "B2" if name == FAULTY[0] else f"B2.{name}"
    return Result.of(result_id, title, added, 20, unit="ms", detail=detail)


def _p95(client: Client, user: int) -> float:
    return percentile(client.ask("lib.deletes.delete", user, DELETES))
