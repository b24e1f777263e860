"""Which messages a worker takes: what Celery publishes, and nothing that would fail elsewhere."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import kombu
import pytest
from kombu import Message
from kombu.transport import redis as of_kombu

from apps.integrity.tasks import cascade_into
from workers import consumer
from workers.celery import app
from workers.recovery import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator


def message(body: Any = ((), {}, {}), **headers: Any) -> Message:
    found = {"task": "integrity.cascade", "id": "1", **headers}
    return Message(
        json.dumps(body),
        content_type="application/json",
        content_encoding="utf-8",
        headers=found,
        accept={"application/json"},
    )


def published(**options: Any) -> Message:
    """What Celery makes of a call, with those options."""
    made = app.amqp.as_task_v2("1", cascade_into.name, args=("blog_db",), **options)
    return message(made.body, **json.loads(json.dumps(made.headers)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"countdown": 5, "expires": 60.5},
        {"time_limit": 5, "soft_time_limit": 0.5},
        {"stamped_headers": ["tenant"], "tenant": "x"},
        {"callbacks": [cascade_into.si("shop_db")], "root_id": "2", "parent_id": "3"},
        {"group_id": "4", "retries": 3, "shadow": "other"},
    ],
    ids=str,
)
def test_what_celery_publishes_is_taken(options: dict[str, Any]) -> None:
    assert consumer.flaw(published(**options)) == ""


@pytest.mark.parametrize(
    ("headers", "flaw"),
    [
        ({"task": [1]}, "header task"),
        ({"id": None}, "header id"),
        ({"expires": 5}, "header expires"),
        ({"retries": "x"}, "header retries"),
        ({"timelimit": 5}, "header timelimit"),
        ({"timelimit": [1]}, "header timelimit"),
        ({"timelimit": ["x", None]}, "header timelimit"),
        ({"timelimit": [-1, None]}, "header timelimit"),
        ({"stamped_headers": 5}, "header stamped_headers"),
        ({"stamped_headers": [[]]}, "header stamped_headers"),
    ],
    ids=str,
)
def test_a_header_of_another_form_is_a_flaw(headers: dict[str, Any], flaw: str) -> None:
    assert consumer.flaw(message(**headers)) == flaw


@pytest.mark.parametrize("body", [5, [], [[], {}], [[], {}, {}, {}], [[], [], {}], [[], {}, 5]])
def test_a_body_of_another_form_is_a_flaw(body: Any) -> None:
    assert consumer.flaw(message(body)) == "body"


def test_redis_gets_the_guarded_channels_and_other_brokers_their_own() -> None:
    for scheme in ("redis", "rediss"):
        transport = Connection(f"{scheme}://localhost").get_transport_cls()
        assert transport is consumer.Transport
        assert issubclass(transport, of_kombu.Transport)
    assert Connection("memory://").get_transport_cls() is not consumer.Transport


class TestGuard:
    """On kombu's own broker in memory: what is dropped is acknowledged, with one line."""

    @pytest.fixture
    def queue(self) -> Iterator[Any]:
        with kombu.Connection("memory://") as connection:
            found = connection.SimpleQueue("guarded")
            found.clear()
            yield found
            found.close()

    @pytest.mark.parametrize(
        ("body", "headers", "why"),
        [
            (b"{secret", {"task": "integrity.cascade", "id": "1"}, "DecodeError"),
            (b"[[], {}, {}]", {"task": "secret", "id": "1"}, "no such task"),
            (b"[[], {}, {}]", {"id": "1"}, "header task"),
            (b"[[], {}, {}]", {"task": "integrity.cascade", "id": "1", "eta": "secret"}, "Invalid"),
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
        assert told.getMessage().startswith(f"a message that cannot be read was dropped: {why}")
        assert "secret" not in caplog.text

    def handler(self) -> Any:
        controller = SimpleNamespace(
            state=SimpleNamespace(revoked=()), use_eventloop=False, concurrency=1
        )
        pool = SimpleNamespace(is_green=False, apply_async=None)
        made = consumer.Consumer(lambda _request: None, app=app, pool=pool, controller=controller)
        made.event_dispatcher, made.timer = None, SimpleNamespace(call_at=None)
        made.update_strategies()
        return made.create_task_handler()
