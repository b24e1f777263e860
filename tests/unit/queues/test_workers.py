"""Queues, timetable, liveness and the settings that keep work from being lost."""

from __future__ import annotations

import functools
import gc
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from celery import Celery
from celery.app.trace import build_tracer
from celery.exceptions import QueueNotFound
from celery.signals import task_prerun, worker_process_init
from django.db import connections

import config
from apps.integrity import routing
from apps.integrity.control import circuit_breaker
from apps.integrity.queues import celery, celery_tasks, health
from apps.integrity.queues.celery_worker.steps import Liveness
from workers import celery as celery_module
from workers.celery import app

if TYPE_CHECKING:
    from celery.app.utils import Settings

ROOT = Path(__file__).resolve().parents[3]
QUEUES = ["integrity", "integrity.blog_db", "integrity.shop_db"]


def test_there_is_one_queue_per_database_and_one_for_the_rest() -> None:
    assert list(routing.task_queues(["blog_db", "shop_db"])) == QUEUES
    assert sorted(app.amqp.queues) == QUEUES


@pytest.mark.parametrize("name", QUEUES)
def test_a_queue_gets_its_own_messages_only(name: str) -> None:
    queue = app.amqp.queues[name]
    assert (queue.exchange.name, queue.exchange.type, queue.routing_key) == (name, "direct", name)


@pytest.mark.parametrize(
    ("task", "args", "kwargs", "queue"),
    [
        ("integrity.dispatch", (), {}, "integrity"),
        ("integrity.maintain", None, None, "integrity"),
        ("integrity.cascade", ("blog_db",), {}, "integrity.blog_db"),
        ("integrity.cascade", [], {"database": "shop_db"}, "integrity.shop_db"),
        ("integrity.verify", ["shop_db"], None, "integrity.shop_db"),
        ("someone.elses", ("blog_db",), {}, "integrity"),
    ],
)
def test_a_task_goes_to_the_queue_of_its_database(
    task: str, args: Any, kwargs: Any, queue: str
) -> None:
    route = app.amqp.router.route({}, task, args=args, kwargs=kwargs)
    assert route["queue"].name == queue


def test_a_queue_that_nobody_has_is_an_error_of_the_caller() -> None:
    with pytest.raises(QueueNotFound):
        app.amqp.router.route({}, "integrity.cascade", args=("mistyped",), kwargs={})


def test_no_tick_of_the_timetable_expires_by_the_clock_of_beat() -> None:
    entries = routing.beat_schedule()
    assert {name: entry["schedule"] for name, entry in entries.items()} == {
        "integrity.dispatch": 5.0,
        "integrity.maintain": 60.0,
        "integrity.scan": 60.0,
    }
    for name, entry in entries.items():
        assert entry["task"] == name
        assert entry["options"] == {"queue": "integrity"}


def test_producers_of_the_project_use_our_app() -> None:
    assert config.celery_app is app
    assert app.main == "workers"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("task_create_missing_queues", False),
        ("task_default_queue", "integrity"),
        ("result_backend", None),
        ("result_expires", None),
        ("task_serializer", "json"),
        ("accept_content", ["json"]),
        ("task_publish_retry", True),
        ("task_publish_retry_policy", {"max_retries": 0}),
        ("worker_prefetch_multiplier", 1),
        ("worker_soft_shutdown_timeout", 10),
        ("worker_send_task_events", True),
        ("task_send_sent_event", True),
        ("broker_connection_max_retries", None),
        ("broker_connection_retry_on_startup", True),
        ("timezone", "UTC"),
        ("CELERY_DB_REUSE_MAX", 1000),
    ],
)
def test_celery_is_set_up_to_lose_nothing(setting: str, value: object) -> None:
    assert app.conf.get(setting) == value


OF_OURS = ("dispatch", "cascade", "verify", "scan", "maintain")


@pytest.mark.parametrize("name", OF_OURS)
def test_in_any_project_a_task_loses_no_message_and_ends_in_time(name: str) -> None:
    plain = Celery("somebodys", broker="memory://", set_as_current=False)
    plain.conf.update(task_acks_late=False, task_reject_on_worker_lost=None, task_time_limit=None)
    task = plain.tasks[f"integrity.{name}"]
    assert task.acks_late
    assert task.reject_on_worker_lost
    assert task.ignore_result
    assert task.expires is None
    assert (task.soft_time_limit, task.time_limit) == (45, 60)


class TestPileOfTicks:
    @pytest.fixture
    def done(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """What a worker that takes a message goes on to do."""
        begun: list[str] = []
        monkeypatch.setattr(circuit_breaker, "answering_logs", lambda: begun.append("worked") or ())
        for each in (celery.dispatch_deletions, celery.scan_for_orphans, celery.maintain):
            monkeypatch.setattr(each, "begun_at", None)
        return begun

    @pytest.mark.parametrize("name", ["dispatch", "scan", "maintain"])
    def test_a_worker_passes_over_the_ticks_of_the_meantime(
        self, done: list[str], monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        now = [100.0]
        monkeypatch.setattr(celery_tasks.time, "monotonic", lambda: now[0])
        task = app.tasks[f"integrity.{name}"]
        for _ in range(500):
            taken(task)
        assert done == ["worked"]
        now[0] += 2 * celery_tasks.TICK_SECONDS_MIN
        taken(task)
        assert done == ["worked"] * 2

    def test_after_one_that_failed_the_next_is_worked_on(
        self, done: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            circuit_breaker, "answering_logs", lambda: done.append("failed") or 1 / 0
        )
        for _ in range(2):
            taken(celery.dispatch_deletions)
        assert done == ["failed"] * 2

    def test_a_call_in_place_is_worked_on(self, done: list[str]) -> None:
        for _ in range(2):
            celery.dispatch_deletions()
            celery.maintain.apply()
        assert done == ["worked"] * 4


def taken(task: Any, *arguments: str) -> None:
    """Run a task as a worker's process does."""
    request = {"id": "1", "is_eager": False, "called_directly": False, "hostname": "a@b"}
    build_tracer(task.name, task, app=app)("1", arguments, {}, request)


def test_a_message_comes_back_soon_after_its_worker_died() -> None:
    options = app.conf.broker_transport_options
    assert options["visibility_timeout"] == app.conf.visibility_timeout
    assert options["visibility_timeout"] >= 2 * routing.TIME_LIMIT_SECONDS
    assert (options["unacked_restore_interval"], options["unacked_restore_throttle"]) == (5, 1)


def test_a_broker_that_hangs_holds_up_a_request_shorter_than_a_worker() -> None:
    conf = SimpleNamespace(broker_transport_options=dict(app.conf.broker_transport_options))
    assert conf.broker_transport_options["socket_timeout"] == 0.5
    assert conf.broker_transport_options["max_retries"] == 0
    celery_module.wait_longer_for_the_broker(conf=cast("Settings", conf))
    assert conf.broker_transport_options["socket_timeout"] == 2
    assert conf.broker_transport_options["socket_connect_timeout"] == 2
    assert app.conf.broker_transport_options["socket_timeout"] == 0.5


def test_connections_are_checked_before_each_task(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []

    def connection(name: str, *, in_atomic_block: bool) -> SimpleNamespace:
        return SimpleNamespace(
            in_atomic_block=in_atomic_block,
            close_if_unusable_or_obsolete=lambda: checked.append(name),
        )

    opened = [
        connection("between tasks", in_atomic_block=False),
        connection("inside the caller's transaction", in_atomic_block=True),
    ]
    monkeypatch.setattr(type(connections), "all", lambda _self, **_kwargs: opened)
    task_prerun.send(sender=celery.maintain)
    assert checked == ["between tasks"]


def test_collections_leave_out_what_a_process_has_loaded() -> None:
    before = gc.get_freeze_count()
    kept = {"name": [object()]}
    worker_process_init.send(sender=None)
    assert gc.get_freeze_count() > before
    assert all(each is not kept for each in gc.get_objects())


def test_the_level_of_the_command_line_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    configured: list[object] = []
    monkeypatch.setattr("logging.config.dictConfig", configured.append)
    root = logging.getLogger()
    monkeypatch.setattr(root, "level", root.level)
    celery_module.log_as_the_project_does(loglevel=logging.ERROR)
    assert configured
    assert root.level == logging.ERROR


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the files of the alive."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_process_that_was_never_seen_is_not_alive(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(folder.iterdir()) == []
    assert health.main(["blog_db"]) == 1
    assert capsys.readouterr().out == "blog_db: never seen\n"


@pytest.mark.usefixtures("folder")
def test_a_process_is_alive_until_its_file_is_too_old() -> None:
    health.touch("blog_db")
    file = health.alive_file("blog_db")
    assert health.main(["blog_db"]) == 0
    file.write_text(str(time.monotonic() - 100))
    assert health.main(["blog_db"]) == 1
    assert health.main(["blog_db", "--max-age=200"]) == 0
    assert health.main(["shop_db"]) == 1


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("ahead", [-600, -20, 20, 600])
def test_a_clock_that_was_set_makes_nobody_dead_or_alive(
    ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    health.touch("blog_db")
    hung = health.alive_file("shop_db")
    hung.write_text(str(time.monotonic() - 100))
    now = time.time()
    os.utime(hung, (now, now))
    monkeypatch.setattr(time, "time", lambda: now + ahead)
    assert health.main(["blog_db"]) == 0
    assert health.main(["shop_db"]) == 1


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("left", ["", "no number", "1e15"])
def test_a_file_from_before_the_machine_began_tells_nothing(left: str) -> None:
    health.touch("blog_db")
    health.alive_file("blog_db").write_text(left)
    assert health.main(["blog_db"]) == 1


class Timer:
    """A worker's timer, turned by hand."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def call_repeatedly(self, _seconds: float, call: Any, args: Any) -> Any:
        entry = functools.partial(call, *args)
        self.calls.append(entry)
        return SimpleNamespace(cancel=lambda: self.calls.remove(entry))


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("ending", ["stop", "terminate"])
def test_a_worker_shows_itself_from_its_start_to_its_stop(ending: str) -> None:
    worker = SimpleNamespace(hostname="blog_db@somewhere", timer=Timer(), app=app)
    step = Liveness(worker)
    assert health.age_seconds("blog_db") is None
    step.start(worker)
    assert health.main(["blog_db"]) == 0
    health.alive_file("blog_db").unlink()
    worker.timer.calls[0]()
    assert health.main(["blog_db"]) == 0
    getattr(step, ending)(worker)
    assert worker.timer.calls == []
    assert health.main(["blog_db"]) == 1


def test_workers_carry_the_liveness_step() -> None:
    assert Liveness in app.steps["worker"]


def test_the_probe_starts_neither_django_nor_celery() -> None:
    code = (
        "import sys, apps.integrity.queues.health;"
        " print(sorted({'django', 'celery', 'kombu'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
