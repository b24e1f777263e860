"""Which messages a worker takes: what Celery publishes, and nothing that would fail elsewhere."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import kombu.pools
import pytest
from kombu.transport import memory as of_memory
from kombu.transport import redis as of_kombu

from apps.integrity import routing
from apps.integrity.queues import celery, celery_broker
from apps.integrity.queues.celery import cascade_into
from apps.integrity.queues.celery_worker import connection, consumer, messages, redis
from workers.celery import app

if TYPE_CHECKING:
    from collections.abc import Iterator


OTHER = "proj.send_mail"  # a task of the project's own
OURS = cascade_into.name


def flaw(headers: Any, body: Any = ((), {}, {})) -> str:
    """As a worker asks, after the way through JSON."""
    headers, body = json.loads(json.dumps([headers, body]))
    return messages.flaw(messages.call(headers, body))


def forged(task: Any = OTHER, **headers: Any) -> dict[str, Any]:
    return {"task": task, "id": "1", **headers}


def published(task: str, **options: Any) -> str:
    """The flaw of what Celery makes of a call with those options, by either protocol."""
    made = app.amqp.as_task_v2("1", task, args=("blog_db",), **options)
    found = flaw(made.headers, made.body)
    if not {"stamped_headers", "time_limit"} & options.keys():
        old = app.amqp.as_task_v1("1", task, args=("blog_db",), **options)
        assert flaw(old.headers, old.body) == found
    return found


@pytest.mark.parametrize(
    "options",
    [
        {"countdown": 5, "expires": 60.5, "ignore_result": False},
        {"time_limit": 5, "soft_time_limit": 0.5, "countdown": 5},
        {"stamped_headers": ["tenant"], "tenant": "x"},
        {"callbacks": [cascade_into.si("shop_db")], "root_id": "2", "parent_id": "3"},
        {"group_id": "4", "retries": 3, "shadow": "other"},
        {"chord": cascade_into.si("shop_db")},
    ],
    ids=str,
)
def test_a_project_s_own_tasks_keep_what_celery_offers_and_ours_ask_for_nothing(
    options: dict[str, Any],
) -> None:
    assert published(OTHER, **options) == ""
    assert published(OURS, **options) != ""


@pytest.mark.parametrize(
    ("said", "hidden"),
    [
        ({"eta": None}, {"eta": "2099-01-01T00:00:00+00:00"}),
        ({"timelimit": None}, {"timelimit": [1, 2, 3]}),
        ({"retries": 0}, {"retries": 3}),
        ({"shadow": None}, {"shadow": "other"}),
        ({}, {"taskset": "4"}),
    ],
    ids=str,
)
def test_headers_hide_nothing_of_the_first_protocol(
    said: dict[str, Any], hidden: dict[str, Any]
) -> None:
    """Without `args`, Celery reads such a payload alone."""
    payload = {"task": OURS, "id": "1", "kwargs": {}, **hidden}
    assert flaw(said, payload) == f"header {'group' if 'taskset' in hidden else next(iter(hidden))}"


def test_a_worker_of_our_queues_alone_decodes_no_large_body() -> None:
    large = messages.OTHER_BODY_MAX + 1
    for task in (None, OTHER, "celery.map"):
        assert messages.unread(task, messages.JSON, large, ["json"], alone=True) == "size"
        assert messages.unread(task, messages.JSON, large, ["json"], alone=False) == ""


@pytest.mark.parametrize("task", [OURS, OTHER])
def test_a_call_is_taken(task: str) -> None:
    assert published(task, root_id="2", parent_id="3", reply_to="4") == ""


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"task": [1]}, "header task"),
        ({"id": None}, "header id"),
        ({"eta": 5}, "header eta"),
        ({"expires": 5}, "header expires"),
        ({"retries": "x"}, "header retries"),
        ({"timelimit": 5}, "header timelimit"),
        ({"timelimit": [10**400, None]}, "header timelimit"),
        ({"timelimit": [1e300, None]}, "header timelimit"),
        ({"retries": 10**400}, "header retries"),
        ({"timelimit": [1]}, "header timelimit"),
        ({"timelimit": ["x", None]}, "header timelimit"),
        ({"timelimit": [-1, None]}, "header timelimit"),
        ({"stamped_headers": 5}, "header stamped_headers"),
        ({"stamped_headers": [[]]}, "header stamped_headers"),
    ],
    ids=str,
)
def test_a_header_of_another_form_is_a_flaw(headers: dict[str, Any], why: str) -> None:
    assert flaw(forged(**headers)) == why


@pytest.mark.parametrize("body", [5, [], [[], {}], [[], {}, {}, {}], [[], [], {}], [[], {}, 5]])
def test_a_body_of_another_form_is_a_flaw(body: Any) -> None:
    assert flaw(forged(), body) == "body"


@pytest.mark.parametrize(
    ("headers", "body", "why"),
    [
        ({"eta": "2099-01-01T00:00:00+00:00"}, [[], {}, {}], "header eta"),
        ({"retries": 10**9}, [[], {}, {}], "header retries"),
        ({"shadow": "\x1b[31m"}, [[], {}, {}], "header shadow"),
        ({"group": "1"}, [[], {}, {}], "header group"),
        ({"stamps": {"a": "b"}}, [[], {}, {}], "header stamps"),
        ({"id": "x\n2026 INFO all is well"}, [[], {}, {}], "header id"),
        ({"id": "x" * 256}, [[], {}, {}], "header id"),
        ({"argsrepr": "x" * 20_000}, [[], {}, {}], "size"),
        ({}, [["a", "b"], {}, {}], "arguments"),
        ({}, [["a"], {"database": "b"}, {}], "arguments"),
        ({}, [[1], {}, {}], "arguments"),
        ({}, [[], {"keys": [1]}, {}], "arguments"),
        ({}, [["x" * 256], {}, {}], "arguments"),
        ({}, [[], {}, {"chain": [{"task": "proj.delete_all"}]}], "other tasks"),
        ({}, [[], {}, {"callbacks": [1]}], "other tasks"),
        ({}, [[], {}, {"errbacks": [1]}], "other tasks"),
        ({}, [[], {}, {"chord": {"task": "x"}}], "other tasks"),
    ],
    ids=str,
)
def test_a_message_of_ours_names_a_database_and_asks_for_nothing_else(
    headers: dict[str, Any], body: Any, why: str
) -> None:
    assert flaw(forged(OURS, **headers), body) == why
    if why not in {"size", "arguments"} and headers.get("id") is None:
        assert flaw(forged(**headers), body) == ""
    following = dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))
    assert flaw(forged(OURS, retries=0, timelimit=[None, None]), [["a"], {}, following]) == ""


@pytest.mark.parametrize(
    ("accepted", "content_type", "length", "why"),
    [
        (["json"], "application/json", 100, ""),
        (["json", "pickle"], "application/x-python-serialize", 100, "content type"),
        (["application/json", "yaml"], "application/x-yaml", 100, "content type"),
        (["auth"], "application/data", 100, ""),
        (["auth"], "application/json", 100, "content type"),
        (["json"], "application/json", 10_000, "size"),
        (["application/x-python-serialize"], "application/x-python-serialize", 100, ""),
    ],
)
def test_a_body_of_ours_is_decoded_where_it_is_small_and_of_a_safe_kind(
    accepted: list[str], content_type: str, length: int, why: str
) -> None:
    assert messages.unread(OURS, content_type, length, accepted, alone=False) == why
    for task in (OTHER, None, [1]):
        assert messages.unread(task, content_type, length, accepted, alone=False) == ""


def test_redis_gets_the_guarded_channels_and_other_brokers_their_own() -> None:
    for scheme in ("redis", "rediss"):
        transport = connection.Connection(f"{scheme}://localhost").get_transport_cls()
        assert transport is redis.Transport
        assert issubclass(transport, of_kombu.Transport)
    assert connection.Connection("memory://").get_transport_cls() is of_memory.Transport
    by_sentinel = connection.Connection("sentinel://localhost").get_transport_cls()
    assert issubclass(by_sentinel, of_kombu.SentinelTransport)
    assert issubclass(by_sentinel.Channel, redis.Channel)
    assert issubclass(by_sentinel.Channel, of_kombu.SentinelChannel)


class TestGuard:
    """On kombu's own broker in memory: what is dropped is acknowledged, with one line."""

    @pytest.fixture
    def queue(self) -> Iterator[Any]:
        with kombu.Connection("memory://") as connection:
            found = connection.SimpleQueue("guarded")
            for name in ("guarded", "integrity", "integrity.blog_db"):
                found.channel.queue_purge(name)  # the process has one such broker for all tests
            yield found
            found.close()

    @pytest.mark.parametrize(
        ("body", "headers", "why"),
        [
            (b"{secret", {"task": "integrity.cascade", "id": "1"}, "DecodeError"),
            (b"[[], {}, {}]", {"task": "no\x1b[1mtask", "id": "1"}, r"no task 'no\\x1b[1mtask'"),
            (b"[[], {}, {}]", {"id": "1"}, "header task"),
            (
                b"[[], {}, {}]",
                {"task": "integrity.cascade", "id": "1", "eta": "secret"},
                "header eta",
            ),
        ],
    )
    def test_a_message_is_dropped_and_not_quoted(
        self, queue: Any, body: bytes, headers: Any, why: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        queue.producer.publish(
            body,
            routing_key="guarded",
            content_type="application/json",
            content_encoding="utf-8",
            headers=headers,
        )
        found = queue.channel.basic_get(queue.queue.name)
        handle = self.handler()
        caplog.set_level(logging.DEBUG)
        caplog.clear()
        handle(found)
        assert found.acknowledged
        [told] = caplog.records
        assert told.getMessage().startswith(f"dropped a message that this worker cannot run: {why}")
        assert "secret" not in caplog.text

    @pytest.mark.parametrize("protocol", [1, 2])
    def test_a_message_of_ours_has_the_limits_of_its_task_and_no_result(
        self, queue: Any, protocol: int
    ) -> None:
        taken: list[Any] = []
        handle = self.handler(taken.append)
        for task in (OURS, "celery.backend_cleanup"):
            made = app.amqp.task_protocols[protocol](
                "1", task, args=("blog_db",) if task == OURS else (),
                expires=-5.0, time_limit=0.001, soft_time_limit=0.001,
            )  # fmt: skip
            headers = {**made.headers, "ignore_result": False} if protocol == 2 else {}
            queue.producer.publish(
                made.body, routing_key="guarded", serializer="json", headers=headers
            )
            handle(queue.channel.basic_get(queue.queue.name))
        [request] = taken
        assert request.name == OURS
        assert request.ignore_result
        assert request.expires is None
        assert not any(request.time_limits)

    @pytest.mark.parametrize(
        ("queues", "kept"), [(("integrity", "integrity.blog_db"), 0), (("integrity", "mail"), 1)]
    )
    def test_a_worker_of_our_queues_alone_keeps_nothing_of_celery_s(
        self, queue: Any, queues: Any, kept: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scheduled: list[Any] = []
        handle = self.handler(call_at=lambda *entry, **_: scheduled.append(entry))
        monkeypatch.setattr(app.amqp.queues, "_consume_from", dict.fromkeys(queues))
        made = app.amqp.as_task_v2("1", "celery.backend_cleanup", countdown=10**9)
        queue.producer.publish(
            made.body, routing_key="guarded", serializer="json", headers=made.headers
        )
        handle(queue.channel.basic_get(queue.queue.name))
        assert len(scheduled) == kept

    @pytest.mark.parametrize(
        ("queues", "taken"), [(("integrity", "integrity.blog_db"), 0), (("integrity", "mail"), 1)]
    )
    def test_a_worker_of_our_queues_alone_runs_nothing_by_way_of_celery_s(
        self, queue: Any, queues: Any, taken: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ran: list[Any] = []
        handle = self.handler(ran.append)
        monkeypatch.setattr(app.amqp.queues, "_consume_from", dict.fromkeys(queues))
        signature = {"task": "integrity.dispatch"}
        made = app.amqp.as_task_v2("1", "celery.map", kwargs={"task": signature, "it": ["a", "b"]})
        queue.producer.publish(
            made.body, routing_key="guarded", serializer="json", headers=made.headers
        )
        handle(queue.channel.basic_get(queue.queue.name))
        assert len(ran) == taken

    def test_what_this_app_and_beat_publish_is_taken(
        self, queue: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        taken: list[Any] = []
        handle = self.handler(taken.append)
        broker = queue.channel.connection.client
        monkeypatch.setattr(celery_broker, "connection", lambda _seconds: broker)
        monkeypatch.setattr(celery, "is_eager", lambda: False)
        for task in (cascade_into, celery.verify_in, celery.scan_for_orphans):
            celery._publish(task, "blog_db")
        celery.publish_dispatch("default")
        for name, entry in routing.BEAT_SCHEDULE.items():
            with kombu.pools.producers[broker].acquire() as producer:
                app.tasks[name].apply_async(producer=producer, **entry["options"])
                app.send_task(name, producer=producer, **entry["options"])
        for each in ("integrity", "integrity.blog_db"):
            while found := queue.channel.basic_get(each):
                handle(found)
        assert len(taken) == 4 + 2 * len(routing.BEAT_SCHEDULE)

    def handler(self, take: Any = lambda _request: None, call_at: Any = None) -> Any:
        controller = SimpleNamespace(
            state=SimpleNamespace(revoked=()), use_eventloop=False, concurrency=1
        )
        pool = SimpleNamespace(is_green=False, apply_async=None)
        made = consumer.Consumer(take, app=app, pool=pool, controller=controller)
        made.event_dispatcher, made.timer = None, SimpleNamespace(call_at=call_at)
        made.qos = SimpleNamespace(increment_eventually=lambda: None)
        made.update_strategies()
        return made.create_task_handler()
