"""Brokers other than Redis and RabbitMQ: what can run without a server, and what `doctor` says."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery

from apps.integrity.checks import doctor
from apps.integrity.queues import celery, celery_broker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    #: Makes another app the current one, with a broker.
    At = Callable[..., Celery]

pytestmark = pytest.mark.usefixtures("committed")


@pytest.fixture
def at(tmp_path: Path) -> At:
    """Return a function that makes an app with that broker the current one, for this test."""

    def make(url: str, **options: Any) -> Celery:
        app = Celery("proj", broker=url.replace("HERE", str(tmp_path)))
        app.conf.broker_transport_options = options
        app.conf.task_create_missing_queues = True
        return app

    return make


def detail(state: doctor.Broker) -> str:
    [found] = [check for check in doctor.examine(state) if check.name == "broker"]
    return found.detail


def publishes() -> None:
    """Assert that messages arrive in their queue, and are counted."""
    with celery_broker.publishing(1.0) as producer:
        before = celery_broker.waiting("integrity.blog_db", producer)
    celery.publish_cascade("blog_db")
    celery.publish_cascade("blog_db")
    with celery_broker.publishing(1.0) as producer:
        assert celery_broker.waiting("integrity.blog_db", producer) == before + 2


def test_a_folder(at: At, tmp_path: Path) -> None:
    (tmp_path / "queue").mkdir()
    folders = dict.fromkeys(("data_folder_in", "data_folder_out"), str(tmp_path / "queue"))
    at("filesystem://", **folders, control_folder=str(tmp_path / "control"))
    assert celery_broker.silence() == ""
    publishes()
    assert detail(celery_broker.ask(0.1)).startswith("answers, by the transport 'filesystem': ")


def test_a_folder_that_is_missing(at: At, tmp_path: Path) -> None:
    at("filesystem://", data_folder_in=str(tmp_path / "none"))
    assert celery_broker.silence() == f"FileNotFoundError ENOENT: {tmp_path}/none"
    assert detail(celery_broker.ask(0.1)).startswith("cannot be reached: FileNotFoundError")


def test_memory(at: At) -> None:
    at("memory://")
    publishes()
    assert detail(celery_broker.ask(0.1)).startswith("answers, by the transport 'memory': ")


@pytest.mark.skipif(importlib.util.find_spec("sqlalchemy") is None, reason="no SQLAlchemy")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # kombu uses SQLAlchemy's old names
class TestTables:
    def test_they_take_messages_and_workers_are_not_asked(self, at: At) -> None:
        at("sqla+sqlite:///HERE/broker.sqlite3")
        assert celery_broker.silence() == ""
        publishes()
        state = celery_broker.ask(0.1)
        assert not state.asked
        assert detail(state).startswith("answers, by the transport 'sqla': ")
        queues = [check for check in doctor.examine(state) if check.kind == "queue"]
        assert all("no worker consumes it" in check.detail for check in queues)

    def test_options_of_redis_are_named(self, at: At) -> None:
        at("sqla+sqlite:///HERE/broker.sqlite3", socket_timeout=1)
        assert celery_broker.silence().startswith("TypeError: CELERY_BROKER_TRANSPORT_OPTIONS")
        assert "cannot be reached: TypeError" in detail(celery_broker.ask(0.1))


@pytest.mark.skipif(importlib.util.find_spec("botocore") is not None, reason="botocore is here")
def test_sqs_without_its_package(at: At) -> None:
    at("sqs://key:secret@", region="eu-west-1")
    assert celery_broker.silence() == "the Python package 'botocore' is missing"
    assert "the Python package 'botocore' is missing" in detail(celery_broker.ask(0.1))


def test_a_transport_that_nobody_knows(at: At) -> None:
    at("carrier+pigeon://roof")
    assert "Celery has no transport 'carrier'" in detail(celery_broker.ask(0.1))


def test_eager_tasks_need_no_queue_and_no_worker(at: At) -> None:
    at("amqp://nobody").conf.task_always_eager = True
    state = celery_broker.ask(0.1)
    assert state.eager
    assert detail(state).startswith("not used: CELERY_TASK_ALWAYS_EAGER is set")
    kinds = {check.kind for check in doctor.examine(state)}
    assert "beat" in kinds
    assert not {"queue", "workers"} & kinds
