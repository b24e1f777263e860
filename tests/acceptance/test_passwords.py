"""What docker-compose.yml starts, started here: nothing of it answers without a password."""

from __future__ import annotations

import base64
import os
import re
import secrets
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kombu
import pytest
import redis
import yaml

from sandbox import binaries
from sandbox.environment import BROKER
from sandbox.processes import Process, eventually, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server with the configuration that the service `redis` gives to its own."""
    folder = tmp_path_factory.mktemp("redis")
    script = SERVICES["redis"]["command"][-1]
    configuration = re.search(r"<<CONFIGURATION\n(.+)CONFIGURATION", script, re.DOTALL)
    assert configuration is not None
    password, port = secrets.token_hex(8), free_port()
    lines = configuration[1].replace("$$REDIS_PASSWORD", password).replace("/data", str(folder))
    file = folder / "redis.conf"
    file.write_text(f"{lines}\nbind 127.0.0.1\nport {port}\n")
    server = Process([binaries.redis().path, file], log=folder / "redis.log", cwd=folder).start()
    url = f"redis://app:{password}@127.0.0.1:{port}/0"
    try:
        assert eventually(lambda: answers(url), timeout=PATIENCE_SECONDS), server.log.read_text()
        yield url
    finally:
        server.stop()


def answers(url: str) -> bool:
    client = redis.Redis.from_url(url)
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
    finally:
        client.close()


def test_redis_answers_nobody_without_the_password(broker: str) -> None:
    for login in ("", "app:wrong@", ":wrong@"):
        stranger = redis.Redis.from_url(re.sub(r"//.*@", f"//{login}", broker))
        with pytest.raises(redis.AuthenticationError):
            stranger.lpush("integrity", "{}")
        stranger.close()


def test_redis_lets_the_project_do_its_work_and_nothing_dangerous(broker: str) -> None:
    with kombu.Connection(broker) as connection, connection.SimpleQueue("integrity") as queue:
        queue.put({"a": 1})
        message = queue.get(timeout=PATIENCE_SECONDS)
        assert message.payload == {"a": 1}
        message.ack()
    client = redis.Redis.from_url(broker)
    for command in ("FLUSHALL", "CONFIG GET *", "ACL LIST", "SHUTDOWN", "KEYS *"):
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command(*command.split())
    client.close()


@pytest.fixture(scope="module")
def flower(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address and login of Flower, started with the words and settings of the service."""
    service = SERVICES["flower"]
    login, port = f"admin:{secrets.token_hex(8)}", free_port()
    words = [each for each in service["command"] if not each.startswith(("--address", "--port"))]
    settings = {name: value for name, value in service["environment"].items() if "FLOWER" in name}
    process = Process(
        [sys.executable, "-m", *words, "--address=127.0.0.1", f"--port={port}"],
        log=tmp_path_factory.mktemp("flower") / "flower.log",
        env={
            **os.environ,
            **{name: value for name, value in settings.items() if "${" not in value},
            "FLOWER_BASIC_AUTH": login,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            BROKER: broker,
        },
        cwd=ROOT,
    ).start()
    address = f"http://127.0.0.1:{port}"
    try:
        assert eventually(
            lambda: status(address, "/healthcheck") == 200, timeout=PATIENCE_SECONDS
        ), process.log.read_text()
        yield address, login
    finally:
        process.stop()


def status(address: str, path: str, *, login: str = "", method: str = "GET") -> int:
    """The answer's status; 0 where nobody listens."""
    request = urllib.request.Request(address + path, method=method)  # noqa: S310 (our own)
    if login:
        request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return 0


SEND = "/api/task/send-task/integrity.cascade"


@pytest.mark.parametrize("login", ["", "admin:wrong"])
def test_flower_answers_nobody_without_the_password(flower: tuple[str, str], login: str) -> None:
    address, _ = flower
    for path in ("/", "/workers", "/tasks", "/broker", "/api/workers", "/api/tasks"):
        assert status(address, path, login=login) == 401, path
    assert status(address, SEND, login=login, method="POST") == 401


def test_flower_shows_to_who_has_it_and_sends_nothing_for_them(flower: tuple[str, str]) -> None:
    address, login = flower
    assert status(address, "/workers", login=login) == 200
    assert status(address, SEND, login=login, method="POST") == 403
