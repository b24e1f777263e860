"""Flower as docker-compose.yml starts it: it answers nobody who has no password."""

from __future__ import annotations

import base64
import os
import secrets
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from sandbox.environment import BROKER
from sandbox.processes import eventually, free_port
from tests.acceptance import composed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def flower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address and login of Flower, started with the words and settings of the service."""
    login, port = f"admin:{secrets.token_hex(8)}", free_port()
    folder = tmp_path_factory.mktemp("flower")
    process = composed.flower(folder / "cwd", port, os.environ[BROKER], login).start()
    address = f"http://127.0.0.1:{port}"
    try:
        assert eventually(
            lambda: status(address, "/healthcheck") == 200, timeout=composed.PATIENCE_SECONDS
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


@pytest.mark.parametrize("missing", ["FLOWER_BASIC_AUTH", BROKER])
def test_flower_does_not_start_without_a_password(tmp_path: Path, missing: str) -> None:
    port = free_port()
    variables = {missing: ""}
    flower = composed.flower(tmp_path / "cwd", port, os.environ[BROKER], "a:b", **variables).start()
    try:
        assert eventually(lambda: not flower.running, timeout=composed.PATIENCE_SECONDS)
    finally:
        flower.stop()
    assert f"The environment variable {missing} is not set" in flower.log.read_text()
