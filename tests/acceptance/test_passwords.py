"""Flower as docker-compose.yml starts it: it answers nobody who has no password."""

from __future__ import annotations

import base64
import os
import secrets
import socket
import urllib.error
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from flower.urls import handlers

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
#: What is for everybody: whether it lives, its style sheets, and the way to log in by other means.
OPEN = {"/healthcheck", "/static/x", "/login", "/logout"}
NOWHERE = composed.NOWHERE
POSTED = sorted(
    composed.flower_address(each, "x") for each in handlers if composed.is_command(each)
)
ADDRESSES = sorted({composed.flower_address(each, "x") for each in handlers})


@pytest.mark.parametrize("login", ["", "admin:wrong"])
def test_flower_answers_nobody_without_the_password(flower: tuple[str, str], login: str) -> None:
    address, _ = flower
    assert len(ADDRESSES) > 25
    answers = {path: status(address, path, login=login) for path in ADDRESSES}
    assert {path for path, found in answers.items() if found == 200} <= OPEN
    assert {path for path, found in answers.items() if found != 401} <= OPEN | {NOWHERE, *POSTED}
    for path in (SEND, *POSTED):
        assert status(address, path, login=login, method="POST") == 401, path


def test_flower_listens_everywhere_only_where_nobody_gets_in(tmp_path: Path) -> None:
    """As in its container: at each address of the machine, and there, too, by password alone."""
    port, login = free_port(), f"admin:{secrets.token_hex(8)}"
    everywhere = [each for each in composed.SERVICES["flower"]["command"] if "address" in each]
    assert everywhere == ["--address=0.0.0.0"]
    process = composed.flower(
        tmp_path / "cwd",
        port,
        os.environ[BROKER],
        login,
        address="0.0.0.0",  # noqa: S104
    ).start()
    try:
        for host in {"127.0.0.1", own_address()}:
            address = f"http://{host}:{port}"
            assert eventually(
                lambda found=address: status(found, "/healthcheck") == 200,
                timeout=composed.PATIENCE_SECONDS,
            ), process.log.read_text()
            for path in ("/", "/metrics", "/api/workers"):
                assert status(address, path) == 401
                assert status(address, path, login=login) == 200
    finally:
        process.stop()


def own_address() -> str:
    """Where the machine is reached from outside; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        with suppress(OSError):
            asked.connect(("192.0.2.1", 9))
        return str(asked.getsockname()[0]).replace("0.0.0.0", "127.0.0.1")  # noqa: S104


def test_flower_shows_to_who_has_it_and_sends_nothing_for_them(flower: tuple[str, str]) -> None:
    address, login = flower
    for path in ("/workers", "/metrics", "/api/workers"):
        assert status(address, path, login=login) == 200
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
