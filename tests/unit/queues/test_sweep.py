"""Each worker asks for its queues' work by itself: a dead beat delays, but loses nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from apps.integrity import relations, routing
from apps.integrity.queues import celery
from apps.integrity.queues.celery_worker.steps import Sweep
from workers.celery import app

if TYPE_CHECKING:
    from tests.conftest import Tune


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


def worker(*queues: str) -> Any:
    app = SimpleNamespace(
        amqp=SimpleNamespace(queues=SimpleNamespace(consume_from=dict.fromkeys(queues)))
    )
    return SimpleNamespace(app=app, timer=Timer())


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is published: the task and its argument."""
    found: list[tuple[str, str]] = []
    monkeypatch.setattr(celery, "_publish", lambda task, alias: found.append((task.name, alias)))
    return found


def test_workers_carry_the_step() -> None:
    assert Sweep in app.steps["worker"]


def test_a_database_is_asked_about_on_its_own_queue_and_the_logs_on_the_other(
    sent: list[tuple[str, str]],
) -> None:
    one = worker("integrity", "integrity.blog_db", "somebody.elses", "celery")
    Sweep(one).act(one)
    assert sent == [
        *(("integrity.dispatch", using) for using in relations.log_databases()),
        ("integrity.cascade", "blog_db"),
    ]


def test_an_erasure_step_is_asked_about_on_its_own_queue(
    sent: list[tuple[str, str]], tune: Tune
) -> None:
    tune(steps={"files": "apps.integrity.contrib.erasure.FieldFiles"})
    one = worker("integrity.blog_db", "integrity.step.files", "integrity.of_no_database")
    Sweep(one).act(one)
    assert sent == [("integrity.cascade", "blog_db"), ("integrity.cascade", "step:files")]


def test_a_worker_asks_soon_after_its_start_and_then_regularly(
    sent: list[tuple[str, str]],
) -> None:
    one = worker("integrity.blog_db")
    Sweep(one).start(one)
    [(first, soon, ask), (then, period, ask_again)] = one.timer.entries
    assert (first, then) == ("once", "again and again")
    assert routing.PERIODS["integrity.dispatch"] < period
    assert soon < period
    for call in (ask, ask_again):
        call()
    assert sent == [("integrity.cascade", "blog_db")] * 2


@pytest.mark.parametrize("ending", ["stop", "terminate"])
def test_a_worker_that_stops_asks_no_more(ending: str) -> None:
    one = worker("integrity")
    step = Sweep(one)
    step.start(one)
    getattr(step, ending)(one)
    assert one.timer.entries == []
