"""`Celery`: the task of another service erases what it is told; its result is the evidence."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import celery
import pytest

from apps.integrity.contrib.erasure.celery import Celery
from apps.integrity.erasure import Found
from apps.integrity.exceptions import InvalidSetting, NotErased
from sandbox.processes import eventually
from tests import erasure_tasks, snippets
from tests.erasure_tasks import HELD, RUNS

if TYPE_CHECKING:
    from collections.abc import Iterator

ITEMS = [{"model": "shop.Order", "field": "pk", "value": key} for key in range(1, 6)]
WORKER = ("-A", "tests.erasure_tasks", "worker", "-Q", "erasure", "--pool=threads", "-c", "2")

OPTIONS = {
    "task": "erasure.erase",
    "queue": "erasure",
    "timeout_seconds": 20.0,
    "models": {"shop.Order": "pk"},
}


class Crm(Celery):
    def app(self) -> Any:
        return erasure_tasks.app


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    log = (tmp_path_factory.mktemp("celery") / "worker.log").open("wb")
    command = [sys.executable, "-m", "celery", *WORKER, "--without-gossip", "--without-mingle"]
    environment = {
        name: os.environ[name] for name in os.environ if name != "DJANGO_SETTINGS_MODULE"
    }
    with (
        log,
        subprocess.Popen(
            command, cwd=snippets.ROOT, env=environment, stdout=log, stderr=log
        ) as process,
    ):
        try:
            assert eventually(lambda: bool(answers()), timeout=60)
            yield
        finally:
            process.terminate()
            process.wait(30)


def answers() -> Any:
    return erasure_tasks.app.control.ping(timeout=0.5)


@pytest.fixture(autouse=True)
def held(worker: None) -> Any:
    redis = erasure_tasks.redis()
    redis.delete(HELD, RUNS)
    redis.sadd(HELD, *range(1, 9))
    return redis


def step(**values: Any) -> Celery:
    return Crm(**{**OPTIONS, **values})


def test_the_task_erases_and_its_result_is_waited_for(held: Any) -> None:
    crm = step()
    crm.erase(ITEMS)
    assert {int(key) for key in held.smembers(HELD)} == {6, 7, 8}
    assert crm.probe(ITEMS) is Found.NONE


def test_it_runs_again_though_an_earlier_result_is_stored(held: Any) -> None:
    crm = step()
    crm.erase(ITEMS)
    held.sadd(HELD, 1)  # the service was restored from a backup
    crm.erase(ITEMS)
    assert not held.sismember(HELD, 1)
    assert int(held.get(RUNS)) == 2


def test_the_id_of_the_task_is_that_of_its_items() -> None:
    from apps.integrity.contrib.erasure.services import Purpose

    crm = step()
    ids = {crm.task_id(Purpose.ERASE, "t", items) for items in (ITEMS, ITEMS[::-1], ITEMS[:1])}
    assert len(ids) == 2


def test_a_task_for_probes_counts_what_is_left() -> None:
    crm = step(probe_task="erasure.left")
    assert crm.probe(ITEMS) is Found.SOME
    crm.erase(ITEMS)
    assert crm.probe(ITEMS) is Found.NONE


def test_a_task_that_fails_is_a_failure_that_quotes_nothing() -> None:
    crm = step(task="erasure.fail")
    with pytest.raises(NotErased) as raised:
        crm.erase(ITEMS)
    assert str(raised.value) == "the task erasure.fail ended as FAILURE: ValueError"
    with pytest.raises(NotErased):
        crm.probe(ITEMS)


def test_a_task_that_returns_nothing_proves_nothing() -> None:
    crm = step(task="erasure.sleep")
    crm.erase(ITEMS)
    assert crm.probe(ITEMS) is Found.UNKNOWN
    assert step(task="erasure.sleep", success_is_proof=True).probe(ITEMS) is Found.NONE


def test_nobody_runs_the_task() -> None:
    crm = step(queue="nobody", timeout_seconds=0.3)
    with pytest.raises(NotErased, match=r"erasure\.erase had no result after 0\.3 s"):
        crm.erase(ITEMS)


def test_an_app_without_results_is_named() -> None:
    app = celery.Celery("none", broker=erasure_tasks.URL, set_as_current=False)
    without = step()
    without.app = lambda: app  # type: ignore[method-assign]
    with pytest.raises(InvalidSetting, match="CELERY_RESULT_BACKEND"):
        without.erase(ITEMS)
