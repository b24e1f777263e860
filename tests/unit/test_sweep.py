"""Each worker asks for its queues' work by itself: a dead beat delays, but loses nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from workers import schedule, sweep
from workers.celery import app
from workers.sweep import Sweep


class Timer:
    """A worker's timer, turned by hand."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, float, Any]] = []

    def call_after(self, seconds: float, call: Any, args: tuple[Any, ...]) -> Any:
        return self._entry("once", seconds, lambda: call(*args))

    def call_repeatedly(self, seconds: float, call: Any, args: tuple[Any, ...]) -> Any:
        return self._entry("again and again", seconds, lambda: call(*args))

    def _entry(self, how: str, seconds: float, call: Any) -> Any:
        entry = (how, seconds, call)
        self.entries.append(entry)
        return SimpleNamespace(cancel=lambda: self.entries.remove(entry))


class Sent(list[Any]):
    def send_task(self, task: str, args: tuple[str, ...], **options: Any) -> None:
        self.append((task, args, options))


def worker(*queues: str) -> Any:
    sent = Sent()
    sent.amqp = SimpleNamespace(queues=SimpleNamespace(consume_from=dict.fromkeys(queues)))
    return SimpleNamespace(app=sent, timer=Timer())


def test_workers_carry_the_step() -> None:
    assert Sweep in app.steps["worker"]


def test_a_database_is_asked_about_on_its_own_queue_and_the_rest_on_the_other() -> None:
    queues = ["integrity", "integrity.blog_db", "somebody.elses", "celery"]
    assert list(sweep.messages(queues)) == [
        ("integrity.dispatch", (), "integrity"),
        ("integrity.cascade", ("blog_db",), "integrity.blog_db"),
    ]


def test_a_worker_asks_soon_after_its_start_and_then_regularly() -> None:
    one = worker("integrity.blog_db")
    Sweep(one).start(one)
    [(first, soon, ask), (then, period, ask_again)] = one.timer.entries
    assert (first, then) == ("once", "again and again")
    assert soon < period
    for call in (ask, ask_again):
        call()
    assert [(task, args, options["queue"]) for task, args, options in one.app] == [
        ("integrity.cascade", ("blog_db",), "integrity.blog_db")
    ] * 2


def test_what_nobody_took_before_the_next_one_expires() -> None:
    one = worker("integrity")
    Sweep(one).ask(one)
    [(_, _, options)] = one.app
    assert options["expires"] == sweep.PERIOD_SECONDS
    assert schedule.PERIODS["integrity.dispatch"] < sweep.PERIOD_SECONDS


@pytest.mark.parametrize("ending", ["stop", "terminate"])
def test_a_worker_that_stops_asks_no_more(ending: str) -> None:
    one = worker("integrity")
    step = Sweep(one)
    step.start(one)
    getattr(step, ending)(one)
    assert one.timer.entries == []
