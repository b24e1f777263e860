"""Processes record their own heartbeats, whatever their work and their logs do."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from celery import signals
from django.contrib.auth.models import User
from django.db import InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from apps.integrity import relations
from apps.integrity.control import heartbeats
from apps.integrity.log import claims
from apps.integrity.models import Cascade, Heartbeat
from apps.integrity.queues import celery_heartbeats, dispatch, own_heartbeat
from apps.integrity.queues.own_heartbeat import OwnHeartbeat
from sandbox.processes import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Captured

pytestmark = pytest.mark.usefixtures("committed")

QUEUES = ["integrity.blog_db", "integrity"]


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "OWN_SECONDS", 0.01)


@pytest.fixture
def started() -> Iterator[list[OwnHeartbeat]]:
    found: list[OwnHeartbeat] = []
    yield found
    for each in found:
        each.stop()


def begin(started: list[OwnHeartbeat], queues: Any = lambda: QUEUES) -> OwnHeartbeat:
    made = OwnHeartbeat("celery@one", queues)
    started.append(made)
    made.start()
    return made


def seen(using: str = "default") -> Heartbeat | None:
    return Heartbeat.objects.using(using).filter(name="celery@one").first()


def test_each_log_has_it_with_the_queues_and_it_is_renewed(
    often: None, started: list[OwnHeartbeat]
) -> None:
    begin(started)
    for using in relations.log_databases():
        assert eventually(lambda using=using: seen(using) is not None, timeout=30)
        first = seen(using)
        assert first is not None
        assert first.queues == sorted(QUEUES)
        assert eventually(
            lambda using=using, first=first: seen(using).seen_at > first.seen_at, timeout=30
        )


def test_a_silent_log_holds_up_nothing(
    often: None, started: list[OwnHeartbeat], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One log fails and another one never answers: the third has each heartbeat."""
    write, over = heartbeats.write, threading.Event()

    def some(name: str, *, using: str, **figures: Any) -> None:
        if using == "test_left":
            raise OperationalError("the disk of ann@example.com is full")
        if using == "test_lite":
            over.wait(60)
        write(name, using=using, **figures)

    monkeypatch.setattr(heartbeats, "write", some)
    try:
        begin(started)
        for _ in range(3):
            assert eventually(lambda: seen() is not None, timeout=30)
            Heartbeat.objects.all().delete()
    finally:
        over.set()


def test_a_session_that_cannot_be_closed_does_not_end_it(
    often: None, started: list[OwnHeartbeat], monkeypatch: pytest.MonkeyPatch
) -> None:
    close, failed = BaseDatabaseWrapper.close, threading.Event()

    def fail_once(connection: BaseDatabaseWrapper) -> None:
        close(connection)
        mine = threading.current_thread().name == "integrity-heartbeat"
        if mine and connection.alias == "default" and not failed.is_set():
            failed.set()
            raise InterfaceError("the session was closed already")

    monkeypatch.setattr(BaseDatabaseWrapper, "close", fail_once)
    begin(started)
    assert failed.wait(30)
    Heartbeat.objects.all().delete()
    assert eventually(lambda: seen() is not None, timeout=30)


def test_it_keeps_no_connection(often: None, started: list[OwnHeartbeat]) -> None:
    """Processes of a worker's pool are forked while it goes on."""
    made: list[Any] = []

    def note(connection: Any, **_: object) -> None:
        if threading.current_thread().name == "integrity-heartbeat":
            made.append(connection)

    connection_created.connect(note)
    try:
        begin(started)
        assert eventually(lambda: seen() is not None, timeout=30)
        started[0].stop()
    finally:
        connection_created.disconnect(note)
    assert made
    assert all(connection.connection is None for connection in made)


def test_it_uses_no_pool() -> None:
    """It would be one of the whole process, and forked processes would have it, too."""
    connection = connections["default"].copy()
    pooled = {**connection.settings_dict, "OPTIONS": {"pool": True, "connect_timeout": 3}}
    connection.settings_dict = pooled
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own_heartbeat, "connections", {"default": connection})
        own_heartbeat.without_pool("default")
    assert connection.settings_dict["OPTIONS"] == {"connect_timeout": 3}
    assert pooled["OPTIONS"]["pool"]


def test_it_takes_two_statements(captured: Captured) -> None:
    heartbeats.write("celery@one", using="default", queues=QUEUES)
    with captured:
        heartbeats.write("celery@one", using="default", queues=QUEUES)
    assert len(captured["default"]) == 2


def test_a_worker_of_other_queues_records_nothing() -> None:
    consumed = {"emails": object()}
    app: Any = SimpleNamespace(amqp=SimpleNamespace(queues=SimpleNamespace(consume_from=consumed)))
    queues = celery_heartbeats.consumed_by(app)
    assert queues() is None
    consumed["integrity.shop_db"] = object()
    assert queues() == ["integrity.shop_db"]
    del consumed["integrity.shop_db"]
    assert queues() == []  # and everybody sees that


def test_celery_starts_it_once_and_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, str]] = []

    class Noted:
        def __init__(self, name: str, _queues: object) -> None:
            self.name = name

        def start(self) -> None:
            calls.append(("start", self.name))

        def stop(self) -> None:
            calls.append(("stop", self.name))

    monkeypatch.setattr(celery_heartbeats, "OwnHeartbeat", Noted)
    monkeypatch.setattr(celery_heartbeats, "consumed_by", lambda _app: list)
    monkeypatch.setattr(celery_heartbeats.celery_start, "warn", lambda _app: None)
    sender = Mock(hostname="celery@one")
    signals.worker_ready.send(sender=sender)
    signals.worker_ready.send(sender=sender)  # its broker was away
    signals.worker_shutdown.send(sender=None)
    signals.beat_init.send(sender=None)
    signals.worker_shutdown.send(sender=None)
    assert [word for word, _ in calls] == ["start", "stop", "start", "stop"]
    assert calls[0][1] == "celery@one"
    assert calls[2][1].startswith("beat@")


def test_an_owner_names_task_and_worker() -> None:
    User.objects.create(username="ann").delete()
    dispatch.sweep_all()
    owner = claims.owned_by("7f3c", "celery@" + "x" * 200)
    assert claims.claim("shop_db", using="default", limit=9, lease_seconds=60, owner=owner)
    assert Cascade.objects.get(state="running").owner == owner
    assert claims.take_over("shop_db", owner=claims.owned_by("7f", "w"), using="default") == 0
    again = claims.owned_by("7f3c", "celery@another")  # the broker gave it to another worker
    assert claims.take_over("shop_db", owner=again, using="default") == 1
    assert own_heartbeat.STOP_SECONDS < heartbeats.OWN_SECONDS
