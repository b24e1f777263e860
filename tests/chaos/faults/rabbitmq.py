"""RabbitMQ that is away, frozen, restarted or out of memory: the request, and the work afterwards.

One process deletes next to a broker that is ill, and one next to a broker that is well, in turns.
The workers and beat are at the one that is ill.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from apps.integrity.queues import celery_broker
from apps.integrity.report.heartbeats import heartbeats_in, ticks_of
from tests.chaos.log import open_work
from tests.engines.servers import rabbitmq
from workers.celery import app

from .bounds import Bound, Figure
from .broker import WELL, Web, bounds, figures, take_turns
from .brokers import Broker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.engines.servers.rabbitmq import RabbitMQ

    from .stage import Stage

DRAINED_SECONDS, TICKED_SECONDS = 15.0, 20.0
PATIENCE_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What begins it, and what ends it: afterwards, the broker is back."""

    strike: Callable[[RabbitMQ], object]
    heal: Callable[[RabbitMQ], object]


def _restart(server: RabbitMQ) -> None:
    server.stop()
    server.start()


FAULTS = {
    "refused": Fault(
        lambda server: server.stop(), lambda server: server.start().wait_until_ready()
    ),
    "frozen": Fault(lambda server: server.freeze(), lambda server: server.thaw()),
    "restarted": Fault(_restart, lambda server: server.wait_until_ready()),
    "memory": Fault(lambda server: server.alarm(), lambda server: server.no_alarm()),
}


def run(stage: Stage) -> Iterator[Bound | Figure]:
    """Each fault after the other, with the same workers."""
    with ExitStack() as stack:
        directory = stage.sandbox.directory
        well, ill = (
            stack.enter_context(rabbitmq.running(directory, name))
            for name in ("rabbitmq-well", "rabbitmq-ill")
        )
        stack.enter_context(_at(ill))
        stack.enter_context(stage.crew({"BROKER_URL": ill.url}))
        for name, fault in FAULTS.items():
            yield from _measured(stage, name, fault, well, ill)


@contextmanager
def _at(server: RabbitMQ) -> Iterator[None]:
    """Let this process publish to that broker, and ask its workers."""
    names = ("broker_write_url", "broker_transport_options")
    before = [getattr(app.conf, name) for name in names]
    app.conf.broker_write_url, app.conf.broker_transport_options = server.url, {}
    try:
        yield
    finally:
        app.conf.broker_write_url, app.conf.broker_transport_options = before


def _ticked() -> float:
    """Return how long ago the last tick of beat was handled."""
    tick = ticks_of(heartbeats_in("default"))
    return tick["seconds_ago"] if tick else float("inf")


def _measured(
    stage: Stage, name: str, fault: Fault, well: RabbitMQ, ill: RabbitMQ
) -> Iterator[Bound | Figure]:
    with ExitStack() as stack:
        users = stage.scale.deletes
        brokers = {
            WELL: Broker(well.url, lambda: None),
            name: Broker(ill.url, lambda: fault.strike(ill) and None),
        }
        webs = [
            Web.start(stage, each, broker, stack, users=users) for each, broker in brokers.items()
        ]
        for web in webs:
            web.be_ready()
        take_turns(stage, webs)
        for web in webs:
            web.exit_seconds = web.leave()
        named = name == "restarted" or celery_broker.silence()
        fault.heal(ill)
        back = time.monotonic()
        waiting = open_work()
        drained = stage.until_done(PATIENCE_SECONDS)
        stage.until(lambda: _ticked() < time.monotonic() - back, PATIENCE_SECONDS)
        ticked = time.monotonic() - back
    yield from figures(*webs)
    yield from bounds(*webs)
    yield Figure(f"{name}: open when the broker is back", waiting)
    yield Bound(f"{name}: doctor does not name it", int(not named), 0)
    yield Bound(f"{name}: until a tick of beat arrives", ticked, TICKED_SECONDS, "s")
    yield Bound(f"{name}: drained after the broker is back", drained, DRAINED_SECONDS, "s")
