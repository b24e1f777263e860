"""What a worker says at its start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import Celery

from apps.integrity.queues import celery_start

if TYPE_CHECKING:
    import pytest

OURS = ("integrity", "integrity.blog_db")


def test_a_worker_without_q_is_told_which_queues_it_lacks() -> None:
    [said] = celery_start.of_queues({"celery"}, "celery", OURS)
    assert "consumes the queue celery only" in said
    assert "`-Q integrity,integrity.blog_db`" in said


def test_the_line_is_in_the_log_of_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    app = Celery("proj", set_as_current=False)
    celery_start.warn(app)
    assert "-Q integrity,integrity.blog_db" in caplog.text
    caplog.clear()
    app.amqp.queues.select(["integrity"])
    celery_start.warn(app)
    assert not caplog.text


def test_workers_of_other_queues_are_told_nothing() -> None:
    for consumed in ({"emails"}, {"celery", "integrity"}, {"integrity"}):
        assert not [*celery_start.of_queues(consumed, "celery", OURS)]
    assert not [*celery_start.of_queues({"integrity"}, "integrity", OURS)]


def test_a_worker_at_another_broker_is_told_without_passwords() -> None:
    [said] = celery_start.of_broker("redis://:secret@two/0", "redis://:hidden@one/0")
    assert "takes messages from redis://********@two/0" in said
    assert "settings name redis://********@one/0" in said
    assert not [*celery_start.of_broker("redis://r/0", "redis://r/0")]
    assert not [*celery_start.of_broker("redis://r/0", None)]
