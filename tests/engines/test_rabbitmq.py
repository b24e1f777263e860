"""RabbitMQ as the broker: publishing, its faults and what they are called, forged messages."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

import kombu
import pytest
from celery import Celery
from django.contrib.auth.models import User
from kombu.exceptions import KombuError
from kombu.pools import producers

from apps.blog.models import Post
from apps.integrity import conf, routing
from apps.integrity.checks.doctor import brokers
from apps.integrity.queues import celery, celery_amqp, celery_broker
from apps.integrity.queues.celery_amqp import PublishersBlocked
from apps.shop.models import Order
from sandbox import project
from sandbox.processes import eventually
from tests.acceptance import workers
from tests.acceptance.forger import Forger, poison
from tests.engines.servers import needed, rabbitmq

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox.processes import Process
    from tests.engines.servers.rabbitmq import RabbitMQ

pytestmark = [pytest.mark.usefixtures("committed"), pytest.mark.timeout(600)]

QUEUE, DISPATCH = "integrity.blog_db", "integrity.dispatch"
MEMORY = "RabbitMQ blocks publishers: memory alarm"
#: How long publishing may take: `wakeup_timeout_seconds`, and what a busy machine adds.
PUBLISH_SECONDS = 1.5
FORGED = 300


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    needed("rabbitmq-server", hint=rabbitmq.HINT)
    with rabbitmq.running(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.fixture
def app(node: RabbitMQ) -> Celery:
    """Return an app at that node, which is the current one of this test."""
    with kombu.Connection(node.url) as connection:
        for name in project.QUEUES:
            connection.default_channel.queue_delete(name)
    return Celery("proj", broker=node.url)


def detail() -> str:
    return brokers.broker(celery_broker.ask(0.5)).detail


def failure() -> Exception:
    """Return the error of publishing now, which takes no longer than it may."""
    begin = time.monotonic()
    with pytest.raises(Exception) as raised:  # noqa: PT011 (which one, the tests say)
        celery.publish_cascade("blog_db")
    assert time.monotonic() - begin < PUBLISH_SECONDS
    return raised.value


def pool() -> Any:
    """Return the producers with which notifications are published."""
    return producers[celery_broker.connection(conf.current().wakeup_timeout_seconds)]


def waiting() -> int:
    with celery_broker.publishing(1.0) as producer:
        return celery_broker.waiting(QUEUE, producer)


class TestPublishing:
    def test_messages_are_counted_before_and_after_their_queue_exists(self, app: Celery) -> None:
        assert waiting() == 0
        celery.publish_cascade("blog_db")
        celery.publish_cascade("blog_db")
        assert waiting() == 2
        assert detail() == "answers"

    def test_a_queue_that_somebody_deleted_is_declared_again(
        self, node: RabbitMQ, app: Celery
    ) -> None:
        """RabbitMQ confirms a message to a queue that does not exist, and discards it."""
        celery.publish_cascade("blog_db")
        with kombu.Connection(node.url) as connection:
            connection.default_channel.queue_delete(QUEUE)
        celery.publish_cascade("blog_db")
        assert waiting() == 1

    def test_enough_messages_are_enough(self, app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(celery, "NOTIFICATIONS_MAX", 3)
        for _ in range(5):
            celery.publish_cascade("blog_db")
        assert waiting() == 3

    def test_the_length_of_a_queue_with_other_arguments(self, node: RabbitMQ, app: Celery) -> None:
        kind = {"x-queue-type": "quorum"}
        with kombu.Connection(node.url) as connection:
            queue = kombu.Queue(QUEUE, queue_arguments=kind, channel=connection)
            queue.declare()
            kombu.Producer(connection).publish("{}", routing_key=QUEUE)
            assert eventually(lambda: waiting() == 1, timeout=10)

    def test_quorum_queues_that_the_project_asks_for(self, node: RabbitMQ, app: Celery) -> None:
        app.conf.task_create_missing_queue_type = "quorum"
        celery.publish_cascade("blog_db")
        assert eventually(lambda: waiting() == 1, timeout=10)
        with kombu.Connection(node.url) as connection, pytest.raises(Exception, match="406"):
            kombu.Queue(QUEUE, channel=connection).declare()  # it is no classic queue

    def test_each_process_has_connections_of_its_own(
        self, app: Celery, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ours = celery_broker.connection(1.0).__eqhash__()  # what kombu finds a pool by
        assert celery_broker.connection(1.0).__eqhash__() == ours
        monkeypatch.setattr(celery_amqp.os, "getpid", lambda: 1)
        assert celery_broker.connection(1.0).__eqhash__() != ours


class TestFaults:
    def test_a_node_that_is_away_is_named_and_the_next_message_finds_it_again(
        self, node: RabbitMQ, app: Celery
    ) -> None:
        celery.publish_cascade("blog_db")
        with node.stopped():
            failure()
            assert detail().startswith("cannot be reached: ConnectionRefusedError")
        celery.publish_cascade("blog_db")
        assert detail() == "answers"

    def test_a_node_that_was_restarted_meanwhile_gets_the_next_message(
        self, node: RabbitMQ, app: Celery
    ) -> None:
        celery.publish_cascade("blog_db")
        with node.stopped():
            pass
        celery.publish_cascade("blog_db")
        assert waiting() >= 1

    def test_beat_goes_on_after_an_outage_where_the_project_does_not_retry(
        self, node: RabbitMQ, app: Celery
    ) -> None:
        with kombu.Connection(node.url, connect_timeout=1) as connection:
            producer: Any = app.amqp.Producer(connection)  # as beat has it

            def tick() -> None:
                celery.dispatch_deletions.apply_async(
                    producer=producer, retry=False, **routing.BEAT_SCHEDULE[DISPATCH]["options"]
                )

            tick()
            with node.stopped(), pytest.raises((OSError, KombuError)):
                tick()
            tick()

    def test_a_frozen_node_holds_nobody_up(self, node: RabbitMQ, app: Celery) -> None:
        celery.publish_cascade("blog_db")
        with node.frozen():
            failure()
            failure()
            assert detail().startswith("cannot be reached: TimeoutError")
        celery.publish_cascade("blog_db")
        assert detail() == "answers"

    def test_an_alarm_is_named_and_its_connection_is_kept(
        self, node: RabbitMQ, app: Celery
    ) -> None:
        celery.publish_cascade("blog_db")
        node.alarm()
        try:
            assert isinstance(failure(), PublishersBlocked)
            with pool().acquire() as producer:  # that which is blocked
                kept = producer.connection.connection
            for _ in range(3):
                assert str(failure()) == MEMORY
                assert celery_broker.silence() == MEMORY
            assert detail().startswith(f"{MEMORY}. Free its memory or its disk.")
            with pool().acquire() as producer:
                assert producer.connection.connection is kept
        finally:
            node.no_alarm()
        assert eventually(lambda: celery_broker.silence() == "", timeout=15, pause=0.2)
        celery.publish_cascade("blog_db")


def publish_raw(url: str, envelopes: list[tuple[str, bytes]]) -> int:
    """Send messages that were made for Redis to RabbitMQ; return how many could be sent."""
    sent = 0
    with kombu.Connection(url) as connection:
        channel: Any = connection.channel()
        for queue, envelope in envelopes:
            try:
                message = json.loads(envelope)
                body, headers = message["body"], message["headers"]
                raw = base64.b64decode(body) if isinstance(body, str) else json.dumps(body).encode()
                made = channel.prepare_message(
                    raw,
                    headers=headers,
                    content_type=message.get("content-type"),
                    content_encoding=message.get("content-encoding"),
                )
                channel.basic_publish(made, routing_key=queue)
                sent += 1
            except Exception:  # noqa: BLE001 (AMQP cannot express all of them)
                channel = connection.channel()
    return sent


@pytest.fixture
def worker(
    node: RabbitMQ, app: Celery, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Process]:
    """Return a worker of the sample project, of all its queues, at that node.

    The parameter is its settings module.
    """
    module = getattr(request, "param", "tests.report_only")
    env = {"BROKER_URL": node.url, "DJANGO_SETTINGS_MODULE": module}
    process = workers.worker(tmp_path, "rabbit@%h", "--concurrency=2", env=env)
    try:
        process.start()
        assert eventually(lambda: " ready." in log(process), timeout=120), log(process)
        yield process
    finally:
        process.stop()


def log(process: Process) -> str:
    return process.log.read_text(errors="replace") if process.log.exists() else ""


def gone(users: list[User]) -> bool:
    keys = [user.pk for user in users]
    return not (
        Post.objects.filter(author_id__in=keys).exists()
        or Order.objects.filter(customer_id__in=keys).exists()
    )


def written(*names: str) -> list[User]:
    users = [User.objects.create(username=name) for name in names]
    for user in users:
        Post.objects.create(title="t", content="c", author=user)
        Order.objects.create(order_number=user.username, customer=user, total=1)
    return users


def test_a_worker_survives_forged_messages_and_does_its_work(
    node: RabbitMQ, worker: Process, tmp_path: Path
) -> None:
    kept, (ann, bob) = written("kept"), written("ann", "bob")
    forger = Forger(1, tmp_path / "canary")
    envelopes = [*forger.messages(FORGED), *((QUEUE, each) for each in poison().values())]
    assert publish_raw(node.url, envelopes) > FORGED // 2
    for user in (ann, bob):
        user.delete()
    for name in ("blog_db", "shop_db"):
        celery.publish_cascade(name)
    assert eventually(lambda: gone([ann, bob]), timeout=120, pause=0.2), log(worker)[-3_000:]
    assert not gone(kept)
    assert worker.running
    assert "dropped a message that this worker cannot run" in log(worker)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("worker", ["tests.engines.quorum"], indirect=True)
def test_a_worker_of_quorum_queues(app: Celery, worker: Process) -> None:
    app.conf.task_create_missing_queue_type = "quorum"
    [ann] = written("ann")
    ann.delete()
    celery.publish_dispatch("default")
    assert eventually(lambda: gone([ann]), timeout=120, pause=0.2), log(worker)[-3_000:]
    assert "Traceback" not in log(worker)


def test_the_parts_that_recover_are_silent(node: RabbitMQ, worker: Process) -> None:
    """Longer than the periods of all of them; an alarm is one line for each look."""
    node.alarm()
    try:
        assert eventually(lambda: MEMORY in log(worker), timeout=60, pause=0.2), log(worker)
    finally:
        node.no_alarm()
    assert "Traceback" not in log(worker)
