"""The broker and the databases are asked behind the page, which never waits for them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User

from apps.integrity import relations
from apps.integrity.queues import celery_broker
from apps.integrity.report import health, probes
from apps.integrity.report.overview import collect_overview
from apps.integrity.report.probes import Probe
from apps.integrity.report.status import collect_status
from sandbox.processes import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.test import Client

pytestmark = pytest.mark.usefixtures("committed")

BLOG, REFUSED = "blog_db", "ConnectionError: refused"


@pytest.fixture
def frozen() -> Iterator[threading.Event]:
    """The broker answers only once the event is set."""
    answers = threading.Event()

    def ask() -> str:
        answers.wait(60)
        return ""

    probes.register_broker(ask)
    yield answers
    answers.set()


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "LATE_SECONDS", 0.0)


def kinds() -> set[tuple[str, str]]:
    return {(one.kind, one.subject) for one in collect_overview().faults}


def test_who_asks_gets_the_last_answer_at_once(frozen: threading.Event) -> None:
    """It returns although nothing has answered: the first page says nothing of the broker."""
    assert ("broker", "") not in kinds()
    assert [one.name for one in threading.enumerate()].count("integrity-probe")  # it still asks
    assert probes.current().celery


def test_a_broker_that_never_answers_is_named(frozen: threading.Event, late: None) -> None:
    collect_overview()
    [fault] = [one for one in collect_overview().faults if one.kind == "broker"]
    assert fault.cause.startswith("no answer for ")
    assert fault.since_seconds is not None
    assert fault.remedy
    frozen.set()
    assert eventually(lambda: ("broker", "") not in kinds(), timeout=30)


def test_a_frozen_one_costs_one_thread(frozen: threading.Event) -> None:
    for _ in range(20):
        probes.current()
    threads = [one for one in threading.enumerate() if one.name == "integrity-probe"]
    assert len(threads) == 1


def test_it_is_asked_at_most_each_few_seconds() -> None:
    asked: list[int] = []
    over = threading.Event()

    def question() -> str:
        asked.append(1)
        over.set()
        return ""

    probe = Probe(question)
    for _ in range(20):
        probe.ask()
    assert over.wait(30)
    probe.answer(within=30)
    for _ in range(20):
        probe.ask()
    assert len(asked) == 1
    probe.ask(now=True)
    assert eventually(lambda: len(asked) == 2, timeout=30)


def test_an_error_of_the_question_is_the_answer() -> None:
    def question() -> str:
        raise OSError("no route to host")

    probe = Probe(question)
    probe.ask()
    assert probe.answer(within=30).startswith("OSError")
    assert probe.known is not None


def test_status_and_the_health_probe_name_the_broker_too(client: Client) -> None:
    probes.register_broker(lambda: REFUSED)
    status = collect_status(probe=True)  # it waits for the answer
    [fault] = [one for one in status["faults"] if one["kind"] == "broker"]
    assert (fault["cause"], fault["level"]) == (REFUSED, "trouble")
    assert ("broker", "") in kinds()
    assert "broker" in {one.kind for one in health._health().faults}
    client.force_login(User.objects.create(username="op", is_staff=True, is_superuser=True))
    page = client.get("/admin/integrity/dashboard/").text
    assert '<li data-fault="broker" data-subject="">' in page
    assert "/guide/broker/" in page


def test_a_database_that_no_worker_has_tried_is_named(refuse: Callable[[str], Any]) -> None:
    """Nobody works, so no log notes it."""
    with refuse(BLOG):
        assert eventually(lambda: ("unreachable", BLOG) in kinds(), timeout=30)
        card = next(one for one in collect_overview().cards if one["database"] == BLOG)
        assert (card["state"], card["unreachable"]) == ("hindered", True)
        assert card["unreachable_seconds"] is not None
    probes.forget()
    assert ("unreachable", BLOG) not in kinds()


def test_without_celery_there_is_no_broker() -> None:
    probes._broker.clear()
    assert not probes.current().celery
    assert not {kind for kind, _ in kinds()} & {"broker", "beat"}


def test_eager_tasks_need_no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery_broker, "is_eager", lambda: True)
    monkeypatch.setattr(celery_broker, "connection", None)
    assert celery_broker.silence() == ""


def test_a_broker_that_refuses_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import kombu

    def refusing(_seconds: float) -> Any:
        return kombu.Connection("redis://127.0.0.1:1/0", transport_options={"max_retries": 0})

    monkeypatch.setattr(celery_broker, "is_eager", lambda: False)
    monkeypatch.setattr(celery_broker, "connection", refusing)
    assert celery_broker.silence() == "redis.exceptions.ConnectionError"
    assert relations.log_databases()
