"""A worker does not stand still after a fault: it asks often, and gives lost places back."""

from __future__ import annotations

import functools
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import kombu
import pytest
from celery.worker import state

from apps.integrity.queues.celery_worker import connection, redis, steps
from workers.celery import app

if TYPE_CHECKING:
    from collections.abc import Iterator


class Timer:
    """A worker's timer, turned by hand."""

    def __init__(self) -> None:
        self.entries: list[tuple[float, Any, Any]] = []

    def call_repeatedly(self, seconds: float, call: Any, args: Any) -> Any:
        entry = (seconds, call, args)
        self.entries.append(entry)
        return SimpleNamespace(cancel=lambda: self.entries.remove(entry))


class Request:
    """What a worker keeps of a task that it runs, or will run."""

    def __init__(self, message: Any, **delivery_info: Any) -> None:
        self.message, self.delivery_info = message, delivery_info


@pytest.fixture
def queue() -> Iterator[Any]:
    """A queue of kombu's own broker in memory, with two messages."""
    with kombu.Connection("memory://") as broker:
        found = broker.SimpleQueue("recovery")
        found.clear()
        # As the channels for Redis do.
        channel: Any = found.channel
        channel.unacknowledged = functools.partial(redis.Channel.unacknowledged, channel)
        for number in range(2):
            found.put(number)
        yield found
        found.close()


def worker(queue: Any = None) -> Any:
    consumer = SimpleNamespace(
        task_consumer=queue and SimpleNamespace(channel=queue.channel), task_buckets={}
    )
    return SimpleNamespace(timer=Timer(), consumer=consumer, pool=SimpleNamespace(), app=app)


@pytest.mark.parametrize("step", [steps.Children, steps.PrefetchCheck])
@pytest.mark.parametrize("ending", ["stop", "terminate"])
def test_workers_carry_the_steps_which_act_until_they_stop(step: Any, ending: str) -> None:
    assert step in app.steps["worker"]
    one = worker()
    each = step(one)
    each.start(one)
    [(seconds, call, args)] = one.timer.entries
    assert (seconds, args) == (step.seconds, (one,))
    call(*args)
    getattr(each, ending)(one)
    assert one.timer.entries == []


def test_the_project_asks_for_its_broker_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kombu.utils.functional.sleep", lambda _seconds: None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    waits: list[float] = []
    broker = app.amqp.Connection(f"redis://127.0.0.1:{port}", transport_options={"max_retries": 0})
    with pytest.raises(kombu.exceptions.OperationalError):
        broker.ensure_connection(lambda _error, wait: waits.append(wait), max_retries=12)
    assert len(waits) > 10
    assert max(waits) <= connection.RECONNECT_SECONDS_MAX + 2  # where kombu begins


def test_killed_children_are_looked_for() -> None:
    looked: list[str] = []
    one = worker()
    one.pool._pool = SimpleNamespace(maintain_pool=lambda: looked.append("once"))
    steps.Children(one).act(one)
    assert looked == ["once"]
    assert steps.CHILDREN_SECONDS < 5  # Celery's own


class TestPlaces:
    def test_a_message_that_nobody_works_on_is_given_back_at_the_second_look(
        self, queue: Any
    ) -> None:
        queue.get()
        one = worker(queue)
        step = steps.PrefetchCheck(one)
        step.act(one)
        with pytest.raises(OSError, match=r"^1 messages were never acknowledged"):
            step.act(one)
        step.act(one)  # and it is not held against the next connection

    def test_another_one_each_time_is_an_ordinary_worker(self, queue: Any) -> None:
        one = worker(queue)
        step = steps.PrefetchCheck(one)
        first = queue.get()
        step.act(one)
        queue.get()
        first.ack()
        step.act(one)

    @pytest.mark.parametrize("by", ["message", "tag"])
    def test_what_is_worked_on_keeps_its_place(self, queue: Any, by: str) -> None:
        taken = queue.get()
        one = worker(queue)
        request = (
            Request(taken) if by == "message" else Request(None, delivery_tag=taken.delivery_tag)
        )
        state.reserved_requests.add(request)  # type: ignore[arg-type]
        step = steps.PrefetchCheck(one)
        for _ in range(3):
            step.act(one)
        state.reserved_requests.discard(request)  # type: ignore[arg-type]

    @pytest.mark.parametrize("waits", ["time", "turn"])
    def test_what_waits_for_its_time_or_turn_keeps_its_place(self, queue: Any, waits: str) -> None:
        request: Any = Request(queue.get())
        one = worker(queue)
        if waits == "time":
            state.scheduled_requests.add(request)  # type: ignore[attr-defined]
        else:
            bucket = SimpleNamespace(contents=[(request, 1)])
            one.consumer.task_buckets = {"proj.slow": bucket, "proj.fast": None}
        step = steps.PrefetchCheck(one)
        for _ in range(3):
            step.act(one)
        state.scheduled_requests.discard(request)  # type: ignore[attr-defined]
