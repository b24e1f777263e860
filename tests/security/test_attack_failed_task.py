"""What a failed task tells, in a real worker: neither rows nor codes of whom it met."""

from __future__ import annotations

import base64
import json
import math
import os
import re
import threading
import time
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import redis
from celery import current_app

from sandbox.environment import BROKER
from sandbox.processes import Process, eventually, free_port
from tests.acceptance import composed, workers
from tests.security.failing import RAISED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOGIN = "admin:a password of this test"
PATIENCE_SECONDS = 60
AGAIN_SECONDS = 5
NODE = "failing@test"
#: The refusal, raw or escaped by whatever tells it; the letters stay the same.
PROSE = re.compile(r"CRM|refused ann|ann@|example\.org|\x1b|x1b\[31m|u001b|x00|u0000|\x00")


def ask(address: str) -> str:
    request = urllib.request.Request(address)  # noqa: S310 (our own)
    login = base64.b64encode(LOGIN.encode()).decode()
    request.add_header("Authorization", f"Basic {login}")
    try:
        with urllib.request.urlopen(request, timeout=10) as found:  # noqa: S310
            return str(found.read().decode())
    except OSError:
        return ""


@contextmanager
def events() -> Iterator[list[dict[str, Any]]]:
    """Collect what workers tell whoever listens to their events."""
    seen: list[dict[str, Any]] = []
    with current_app.connection_for_read() as connection:
        receiver = current_app.events.Receiver(connection, handlers={"*": seen.append})
        thread = threading.Thread(target=receiver.capture, kwargs={"timeout": None})
        thread.daemon = True
        thread.start()
        try:
            yield seen
        finally:
            receiver.should_stop = True
            thread.join(timeout=10)


@pytest.fixture
def flower(committed: None, tmp_path: Path) -> Iterator[str]:
    port = free_port()
    process = composed.flower(tmp_path / "flower", port, os.environ[BROKER], LOGIN).start()
    yield f"http://127.0.0.1:{port}"
    process.stop()


@contextmanager
def worker(folder: Path, refusal: Path) -> Iterator[Process]:
    env = {"REFUSAL": str(refusal), "DJANGO_SETTINGS_MODULE": "tests.security.failing"}
    process = workers.worker(
        folder, NODE, "--concurrency=1", "-E", "--loglevel=INFO", env=env
    ).start()
    try:
        yield process
    finally:
        process.stop()


def failed(address: str) -> dict[str, Any]:
    """The tasks that failed in the worker, as Flower's interface tells them."""
    found = json.loads(ask(f"{address}/api/tasks") or "{}")
    return {name: each for name, each in found.items() if each["state"] == "FAILURE"}


def stored() -> str:
    """All results that the backend keeps."""
    with redis.Redis.from_url(os.environ[BROKER]) as client:
        keys = list(client.scan_iter("celery-task-meta-*"))
        found = [client.get(key) or b"" for key in keys]
        if keys:
            client.delete(*keys)
    return b"\n".join(found).decode(errors="replace")


def failures(address: str, process: Process) -> dict[str, str]:
    """Let two tasks fail; gives what is told of them, by who tells it."""
    stored()
    log = len(process.log.read_bytes())
    sent, sent_at = set[str](), -math.inf
    with events() as told:

        def seen() -> bool:
            nonlocal sent_at
            if time.monotonic() - sent_at > AGAIN_SECONDS:  # whoever listens may have come late
                sent_at = time.monotonic()
                send = current_app.send_task
                sent.add(send("integrity.maintain", queue="integrity").id)
                sent.add(send("integrity.cascade", ["blog_db"], queue="integrity.blog_db").id)
            heard = {each["uuid"] for each in told if each["type"] == "task-failed"}
            return bool(sent & heard & failed(address).keys())

        assert eventually(seen, timeout=PATIENCE_SECONDS, pause=0.1), process.tail()
        pages = [ask(f"{address}/api/tasks"), ask(f"{address}/tasks")]
        for each in sent & failed(address).keys():
            pages += [ask(f"{address}/task/{each}"), ask(f"{address}/api/task/info/{each}")]
        return {
            "log": process.log.read_bytes()[log:].decode(errors="replace"),
            "events": repr(told),
            "flower": "\n".join(pages),
            "results": stored(),
        }


def test_nobody_is_told_what_a_receiver_said(flower: str, tmp_path: Path) -> None:
    chosen = tmp_path / "refusal"
    chosen.write_text(next(iter(RAISED)))
    with worker(tmp_path, chosen) as process:
        for refusal in RAISED:
            chosen.write_text(refusal)
            texts = failures(flower, process)
            assert all("TaskFailed" in text for text in texts.values()), (refusal, texts)
            quoted = {what: PROSE.findall(text) for what, text in texts.items()}
            assert not any(quoted.values()), (refusal, quoted)
    assert not PROSE.search(process.log.read_text(errors="replace"))
