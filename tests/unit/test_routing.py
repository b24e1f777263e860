"""What a project's settings get of this app: `routing.celery_settings`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from celery import Celery
from kombu import Exchange, Queue

from apps.integrity import routing
from apps.integrity.routing import BEAT_SCHEDULE, ROUTER, celery_settings

ROOT = Path(__file__).resolve().parents[2]
DATABASES = {"default": {}, "blog_db": {}}


def test_a_project_that_says_nothing_gets_routes_timetable_and_patience() -> None:
    assert celery_settings({"DATABASES": DATABASES}) == {
        "CELERY_TASK_ROUTES": (ROUTER,),
        "CELERY_BEAT_SCHEDULE": BEAT_SCHEDULE,
        "CELERY_WORKER_PREFETCH_MULTIPLIER": 1,
        "CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP": True,
        "CELERY_BROKER_CONNECTION_MAX_RETRIES": None,
    }


@pytest.mark.parametrize("url", ["redis://r/0", "rediss://r/0", "sentinel://s:26379"])
def test_a_redis_that_falls_silent_is_noticed(url: str) -> None:
    made = celery_settings({"CELERY_BROKER_URL": url})
    assert made["CELERY_BROKER_TRANSPORT_OPTIONS"] == routing.REDIS_OPTIONS


@pytest.mark.parametrize("url", ["amqp://r", "sqla+sqlite:///b", "sqs://", "memory://"])
def test_other_brokers_get_no_options_of_redis(url: str) -> None:
    assert "CELERY_BROKER_TRANSPORT_OPTIONS" not in celery_settings({"CELERY_BROKER_URL": url})


@pytest.mark.parametrize(
    ("broker", "transport"),
    [
        (None, "amqp"),
        ("", "amqp"),
        ([], "amqp"),
        ("localhost", "amqp"),
        ("amqp://r", "amqp"),
        ("amqps://r//", "amqp"),
        ("pyamqp://r;redis://s", "amqp"),
        (["rediss://r", "amqp://r"], "redis"),
        ("redis+socket:///tmp/r", "redis"),
        ("valkeys://r", "valkey"),
        ("sentinel://s", "sentinel"),
        ("sqla+postgresql+psycopg://d", "sqla"),
        ("filesystem://", "filesystem"),
        ("SQS://", "sqs"),
    ],
)
def test_the_transport_of_a_broker(broker: object, transport: str) -> None:
    assert routing.transport_of(broker) == transport


def test_the_broker_of_the_environment_counts_as_for_celery(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = {"CELERY_BROKER_URL": "redis://r/0"}
    monkeypatch.setenv("CELERY_BROKER_URL", "sqla+sqlite:///b")
    assert "CELERY_BROKER_TRANSPORT_OPTIONS" not in celery_settings(given)


def test_what_a_project_sets_stays() -> None:
    mail = {"task": "proj.mail", "schedule": 60.0}
    given = {
        "CELERY_BROKER_URL": "redis://r/0",
        "CELERY_BROKER_TRANSPORT_OPTIONS": {"socket_timeout": 1, "visibility_timeout": 7_200},
        "CELERY_BEAT_SCHEDULE": {"mail": mail},
        "CELERY_TASK_ROUTES": {"proj.*": "mail"},
        "CELERY_WORKER_PREFETCH_MULTIPLIER": 8,
        "CELERY_BROKER_CONNECTION_MAX_RETRIES": 3,
        "CELERY_TIMEZONE": "Europe/Berlin",
    }
    before = repr(given)
    made = celery_settings(given)
    assert made["CELERY_BROKER_TRANSPORT_OPTIONS"] == {
        "socket_timeout": 1,
        "socket_connect_timeout": 5.0,
        "socket_keepalive": True,
        "visibility_timeout": 7_200,
    }
    assert made["CELERY_BEAT_SCHEDULE"] == {**BEAT_SCHEDULE, "mail": mail}
    assert made["CELERY_TASK_ROUTES"] == (ROUTER, {"proj.*": "mail"})
    assert made["CELERY_WORKER_PREFETCH_MULTIPLIER"] == 8
    assert made["CELERY_BROKER_CONNECTION_MAX_RETRIES"] == 3
    assert "CELERY_TIMEZONE" not in made
    assert repr(given) == before


def test_a_second_time_changes_nothing() -> None:
    given = {"DATABASES": DATABASES, "CELERY_TASK_CREATE_MISSING_QUEUES": False}
    given |= celery_settings(given)
    assert celery_settings(given).items() <= given.items()


@pytest.mark.parametrize(
    ("routes", "made"),
    [
        ("proj.routes.route", (ROUTER, "proj.routes.route")),
        ([{"a": "b"}], (ROUTER, {"a": "b"})),
        (len, (ROUTER, len)),
        (({"a": "b"}, ROUTER), ({"a": "b"}, ROUTER)),
    ],
)
def test_routes_of_every_form_stay_behind_ours(routes: object, made: object) -> None:
    assert celery_settings({"CELERY_TASK_ROUTES": routes})["CELERY_TASK_ROUTES"] == made


def test_another_prefix() -> None:
    made = celery_settings({"BROKER_URL": "redis://r", "JOBS_TASK_ROUTES": "r"}, namespace="JOBS")
    assert made["JOBS_TASK_ROUTES"] == (ROUTER, "r")
    assert "JOBS_BROKER_TRANSPORT_OPTIONS" in made


class TestQueues:
    FIXED = {"CELERY_TASK_CREATE_MISSING_QUEUES": False}

    @pytest.mark.parametrize(
        ("given", "aliases"),
        [
            ({"DATABASES": DATABASES}, ["blog_db", "default"]),
            ({"DATABASES": DATABASES, "DATABASE_ROUTING_RULES": {"blog": "blog_db"}}, ["blog_db"]),
            ({}, []),
        ],
    )
    def test_those_of_the_databases_that_the_settings_name(
        self, given: dict[str, object], aliases: list[str]
    ) -> None:
        made = celery_settings({**self.FIXED, **given})["CELERY_TASK_QUEUES"]
        assert list(made) == ["integrity", *(f"integrity.{alias}" for alias in aliases)]

    def test_those_that_are_asked_for(self) -> None:
        made = celery_settings({**self.FIXED, "DATABASES": DATABASES}, databases=["shard_1"])
        assert list(made["CELERY_TASK_QUEUES"]) == ["integrity", "integrity.shard_1"]

    @pytest.mark.parametrize("name", ["TASK_DEFAULT_QUEUE_TYPE", "TASK_CREATE_MISSING_QUEUE_TYPE"])
    def test_they_are_quorum_queues_where_the_project_s_are(self, name: str) -> None:
        given = {f"CELERY_{name}": "quorum", "CELERY_TASK_CREATE_MISSING_QUEUES": False}
        app = Celery("proj", set_as_current=False)
        app.conf.task_queues = celery_settings(given, databases=["d"])["CELERY_TASK_QUEUES"]
        assert app.amqp.queues["integrity.d"].queue_arguments == {"x-queue-type": "quorum"}

    def test_they_come_beside_a_project_s_and_each_gets_its_own_messages(self) -> None:
        mail = Queue("mail", Exchange("mail"), routing_key="mail")
        given = {**self.FIXED, "DATABASES": DATABASES, "CELERY_TASK_QUEUES": [mail]}
        app = Celery("proj", broker="memory://", set_as_current=False)
        app.conf.update(
            task_queues=celery_settings(given)["CELERY_TASK_QUEUES"],
            task_create_missing_queues=False,
        )
        found = {
            name: (queue.exchange.name, queue.routing_key)
            for name, queue in app.amqp.queues.items()
        }
        names = ["integrity", "integrity.default", "integrity.blog_db", "mail"]
        assert found == {name: (name, name) for name in names}

    def test_celery_itself_makes_queues_with_exchanges_of_their_own(self) -> None:
        assert "CELERY_TASK_QUEUES" not in celery_settings({"DATABASES": DATABASES})
        app = Celery("proj", broker="memory://", set_as_current=False)
        queue = app.amqp.queues["integrity.blog_db"]
        assert (queue.exchange.name, queue.routing_key) == (queue.name, queue.name)


def test_settings_may_import_it() -> None:
    code = (
        "import sys, apps.integrity.routing;"
        " print(sorted({'django', 'celery', 'kombu'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
