"""The users of deploy/redis/users.acl: all processes work with them, and may do nothing else."""

from __future__ import annotations

import base64
import json
import subprocess
import urllib.request
from typing import TYPE_CHECKING, Any

import kombu
import pytest
import redis
from django.contrib.auth.models import User

from apps.blog.models import Post
from apps.integrity.models import Cascade, Heartbeat
from sandbox import project
from sandbox.environment import BROKER, WEB, WORKER, as_role
from sandbox.processes import eventually, free_port, stop_all
from tests.acceptance import composed, workers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOT, PATIENCE_SECONDS = composed.ROOT, composed.PATIENCE_SECONDS
LOGIN = "admin:a password of this test"
NODE = "all@test"
QUEUES = set(workers.QUEUES)
DELETE = """
from django.contrib.auth.models import User
User.objects.get(username="somebody").delete()
"""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[composed.Broker]:
    with composed.broker(tmp_path_factory.mktemp("redis")) as made:
        yield made


def environment(broker: composed.Broker, user: str, folder: Path) -> dict[str, str]:
    """Of the service that logs in to Redis as `user`: its role in the databases goes with it."""
    values = {**workers.environment(), BROKER: broker.url(user), "TMPDIR": str(folder)}
    return as_role(WEB if user == "web" else WORKER, values)


def manage(environment: dict[str, str], *words: str) -> str:
    done = project.run("manage.py", *words, env=environment, seconds=PATIENCE_SECONDS)
    return done.stdout + done.stderr


def asked(port: int, path: str) -> Any:
    basic = base64.b64encode(LOGIN.encode()).decode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Basic {basic}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 (our own)
            return json.loads(answer.read())
    except (OSError, ValueError):
        return {}


def test_all_processes_do_their_work_and_are_refused_nothing(
    committed: None, broker: composed.Broker, tmp_path: Path
) -> None:
    port = free_port()
    worker = workers.worker(
        tmp_path,
        "all@test",
        "--concurrency=1",
        env={BROKER: broker.url("worker")},
    )
    env = environment(broker, "beat", tmp_path)
    beat = project.process(tmp_path, "beat", *project.beat(), env=env, cwd=tmp_path)
    flower = composed.flower(tmp_path / "flower", port, broker.url("flower"), LOGIN)
    processes = [worker, beat, flower]
    logs = {each.log.stem: each for each in processes}
    user = User.objects.create(username="somebody")
    Post.objects.create(title="Title", content="text", author=user)
    try:
        for each in processes:
            each.start()
        # Flower asks the worker, by the broker, and reads the queues' lengths.
        assert eventually(
            lambda: NODE in asked(port, "/api/workers?refresh=1"), timeout=PATIENCE_SECONDS
        ), (flower.tail(), worker.tail())
        # The site wakes the worker.
        manage(environment(broker, "web", tmp_path), "shell", "--verbosity=0", "-c", DELETE)
        assert eventually(
            lambda: set(Cascade.objects.values_list("state", flat=True)) == {"done"},
            timeout=PATIENCE_SECONDS,
        ), worker.tail()
        doctor = manage(environment(broker, "worker", tmp_path), "integrity", "doctor")
        assert "queue integrity.blog_db: workers: 1" in doctor, doctor
        assert eventually(Heartbeat.objects.exists, timeout=PATIENCE_SECONDS)
        lengths = asked(port, "/api/queues/length")["active_queues"]
        assert {each["name"] for each in lengths} == QUEUES
        assert eventually(
            lambda: "integrity.cascade" in json.dumps(asked(port, "/api/tasks")),
            timeout=PATIENCE_SECONDS,
        )
        assert eventually(
            lambda: "due task integrity.dispatch" in beat.log.read_text(), timeout=PATIENCE_SECONDS
        )
    finally:
        stop_all(processes)
    assert broker.refusals() == []
    for name, process in logs.items():
        assert "Permission" not in process.log.read_text(), name


def test_a_worker_hands_a_message_back_and_takes_up_what_another_left(
    broker: composed.Broker,
) -> None:
    """A stop, and the look after messages that nobody acknowledged."""
    options = {"visibility_timeout": 0, "unacked_restore_throttle": 1}
    with kombu.Connection(broker.url("web")) as web:
        web.Producer().publish({"a": 1}, routing_key="integrity")  # as Celery does
    with kombu.Connection(broker.url("worker"), transport_options=options) as worker:
        queue = worker.SimpleQueue("integrity")
        queue.get(timeout=PATIENCE_SECONDS).requeue()
        queue.get(timeout=PATIENCE_SECONDS)  # and is never acknowledged
        queue.consumer.channel.qos.restore_visible(num=10, interval=1)
        queue.get(timeout=PATIENCE_SECONDS).ack()
    assert broker.refusals() == []


#: What everybody would like to do who has stolen a password, and may not.
FOR_NOBODY = (
    *("KEYS *", "SCAN 0", "FLUSHALL", "FLUSHDB", "CONFIG GET *", "CONFIG SET dir /tmp", "SHUTDOWN"),
    *("ACL LIST", "ACL SETUSER web on", "MONITOR", "CLIENT LIST", "CLIENT KILL ID 1"),
    *("EVAL return 0", "SCRIPT FLUSH", "SCRIPT KILL", "FUNCTION LIST", "MODULE LIST", "SAVE"),
    *("SLAVEOF NO ONE", "RENAME integrity x", "MIGRATE h 1 k 0 1", "INFO", "SORT integrity"),
    *("LPUSH elsewhere x", "GET elsewhere", "SET elsewhere x", "PUBLISH elsewhere x"),
    *("LRANGE integrity 0 -1", "LREM integrity 0 x", "DUMP unacked", "HGETALL unacked"),
)
REFUSED: dict[str, tuple[str, ...]] = {
    "web": (
        *("BRPOP integrity 1", "RPOP integrity", "DEL integrity", "HGET unacked x"),
        *(
            "PUBLISH /0.celery.pidbox x",
            "PSUBSCRIBE /0.celeryev/*",
            "SMEMBERS _kombu.binding.integrity",
        ),
        "SADD _kombu.binding.celery.pidbox x",
    ),
    "worker": ("LPUSH celeryev.x y", "GET flower.unacked", "SUBSCRIBE elsewhere"),
    "flower": (
        *("LPUSH integrity x", "BRPOP integrity 1", "DEL integrity", "DEL integrity.blog_db"),
        *("HGET unacked x", "DEL unacked", "SET unacked_mutex x", "PEXPIRE integrity 1"),
        *("SADD _kombu.binding.integrity x", "SREM _kombu.binding.integrity x"),
    ),
    "health": (
        "GET integrity",
        "LLEN integrity",
        "LPUSH integrity x",
        "PUBLISH /0.celery.pidbox x",
    ),
}
REFUSED["beat"] = REFUSED["web"]


@pytest.mark.parametrize("user", composed.USERS)
def test_a_user_may_do_nothing_else(broker: composed.Broker, user: str) -> None:
    with broker.client(user) as client:
        assert client.ping()
        for words in (*FOR_NOBODY, *REFUSED[user]):
            with pytest.raises(redis.exceptions.NoPermissionError):
                assert client.execute_command(*words.split()) is None, words


@pytest.mark.parametrize("login", ["", "default:@", "web:wrong@", ":wrong@", "watcher:@"])
def test_nobody_gets_in_without_a_password(broker: composed.Broker, login: str) -> None:
    with redis.Redis.from_url(f"redis://{login}127.0.0.1:{broker.port}/0") as stranger:
        for words in ("PING", "LPUSH integrity {}", "INFO"):
            with pytest.raises(redis.AuthenticationError):
                stranger.execute_command(*words.split())


def test_the_server_holds_hashes_and_no_password(broker: composed.Broker) -> None:
    with broker.client(composed.WATCHER) as client:
        told = f"{client.acl_list()} {client.execute_command('CONFIG', 'GET', '*')}"
    assert not [user for user, password in broker.passwords.items() if password in told]


def test_it_does_not_start_without_each_password(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", ROOT / "deploy" / "redis" / "start.sh", "true"],
        env={
            "PATH": "/usr/bin:/bin",
            "REDIS_WEB_PASSWORD": "x",
            "REDIS_USERS_FILE": f"{tmp_path}/a",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "REDIS_BEAT_PASSWORD is not set" in done.stderr
