"""Flower beside a real worker, behind a path, asked through its HTTP interface."""

from __future__ import annotations

import base64
import json
import os
import re
import urllib.error
import urllib.request
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User

from apps.blog.models import Post
from apps.integrity.models import Cascade
from apps.integrity.queues import celery
from sandbox.environment import BROKER
from sandbox.processes import eventually, free_port
from tests.acceptance import composed, workers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVICE = composed.SERVICES["flower"]
LOGIN = "admin:a password of this test"
PATIENCE_SECONDS = 30


def answer(address: str, login: str = LOGIN, method: str = "GET") -> tuple[int, Any]:
    """Status and document; 0 where nobody listens."""
    request = urllib.request.Request(address, method=method)  # noqa: S310 (our own)
    if login:
        request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=10) as found:  # noqa: S310
            text = found.read().decode()
            return int(found.status), json.loads(text) if text.startswith("{") else text
    except urllib.error.HTTPError as error:
        error.close()
        return error.code, None
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return 0, None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where Flower runs, and would leave its file."""
    made = tmp_path / "flower"
    made.mkdir()
    return made


@pytest.fixture
def address(committed: None, tmp_path: Path, folder: Path) -> Iterator[str]:
    """Flower with the settings of the service, and a worker of every queue on the tests' rows."""
    port = free_port()
    worker = workers.worker(tmp_path, "all@test", "--concurrency=1")
    prefix = {"FLOWER_URL_PREFIX": "flower", "TMPDIR": str(tmp_path)}
    flower = composed.flower(folder, port, os.environ[BROKER], LOGIN, **prefix)
    base = f"http://127.0.0.1:{port}/flower"
    with ExitStack() as stack:
        for process in (worker, flower):
            stack.callback(process.stop)
            process.start()
        assert eventually(
            lambda: "all@test" in (answer(f"{base}/api/workers?refresh=1")[1] or {}),
            timeout=PATIENCE_SECONDS,
            pause=0.2,
        ), (flower.tail(), worker.tail())
        yield base


def test_who_has_the_password_sees_names_and_aliases_and_no_key(address: str, folder: Path) -> None:
    for path in ("/api/workers", "/api/tasks", "/tasks"):
        for login in ("", "admin:wrong"):
            assert answer(address + path, login)[0] == 401
    user = User.objects.create(pk=987_654_321, username="somebody", email="some@example.org")
    Post.objects.create(title="Title", content="text", author=user)
    user.delete()
    celery.publish_dispatch("default")

    def seen() -> dict[str, Any]:
        return dict(answer(f"{address}/api/tasks")[1] or {})

    def succeeded() -> set[tuple[str, str]]:
        found = seen().values()
        return {(each["name"], each["args"]) for each in found if each["state"] == "SUCCESS"}

    wanted = {("integrity.dispatch", "('default',)")} | {
        ("integrity.cascade", f"('{alias}',)") for alias in ("blog_db", "shop_db")
    }

    def done() -> bool:  # a worker that starts also looks for work, and may find none yet
        states = set(Cascade.objects.values_list("state", flat=True))
        return states == {"done"} and wanted <= succeeded()

    assert eventually(done, timeout=PATIENCE_SECONDS, pause=0.2), seen()
    assert not Post.objects.exists()
    for each in seen().values():
        assert each["name"].startswith("integrity.")
        assert re.fullmatch(r"\((?:'(?:default|blog_db|shop_db)',)?\)", each["args"])
        assert each["kwargs"] == "{}"
    assert not re.search("987654321|somebody|example", json.dumps(seen()))
    send = f"{address}/api/task/send-task/integrity.cascade"
    shut = f"{address}/api/worker/shutdown/all@test"
    assert [answer(each, method="POST")[0] for each in (send, shut)] == [403, 403]
    assert list(folder.iterdir()) == []


def test_the_service_keeps_nothing_on_disk() -> None:
    assert not {"FLOWER_PERSISTENT", "FLOWER_DB"} & SERVICE["environment"].keys()
    assert not any("persistent" in each or "--db" in each for each in SERVICE["command"])
