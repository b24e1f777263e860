"""A broker in a folder, or in an SQLite file: a worker of the project gets its work from it."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest
from celery import Celery
from django.contrib.auth.models import User

from apps.blog.models import Post
from apps.integrity.checks import doctor
from apps.integrity.queues import celery, celery_broker
from sandbox import project
from sandbox.processes import eventually
from tests.acceptance import workers
from tests.engines import folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox.processes import Process

pytestmark = [
    pytest.mark.usefixtures("committed"),
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # kombu uses SQLAlchemy's old names
]

WITHOUT_TABLES = importlib.util.find_spec("sqlalchemy") is None
SECONDS = 120


def log(process: Process) -> str:
    return process.log.read_text(errors="replace") if process.log.exists() else ""


@pytest.fixture(
    params=[
        "filesystem://",
        pytest.param(
            "sqla+sqlite:///HERE/broker.sqlite3",
            marks=pytest.mark.skipif(WITHOUT_TABLES, reason="no SQLAlchemy"),
        ),
    ]
)
def worker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Process]:
    """Return a worker at that broker, which is also the one of this process."""
    (tmp_path / "queue").mkdir()
    url = request.param.replace("HERE", str(tmp_path))
    app = Celery("proj", broker=url)
    if url.startswith("filesystem"):
        app.conf.broker_transport_options = folder.options(str(tmp_path))
    env = {"BROKER_URL": url, "DJANGO_SETTINGS_MODULE": "tests.engines.folder"}
    process = workers.worker(tmp_path, "folder@%h", "--concurrency=1", env=env)
    try:
        process.start()
        assert eventually(lambda: " ready." in log(process), timeout=SECONDS), log(process)
        yield process
    finally:
        process.stop()


def test_rows_go_and_doctor_finds_the_worker(worker: Process) -> None:
    ann = User.objects.create(username="ann")
    Post.objects.create(title="t", content="c", author=ann)
    ann.delete()
    celery.publish_cascade("blog_db")
    assert eventually(lambda: not Post.objects.exists(), timeout=SECONDS, pause=0.2), log(worker)

    def consumed() -> bool:
        checks = {check.name: check.ok for check in doctor.examine(celery_broker.ask(2.0))}
        return checks["broker"] and all(checks[f"queue {name}"] for name in project.QUEUES)

    assert eventually(consumed, timeout=60, pause=1), log(worker)[-3_000:]
    assert worker.running
    assert "Traceback" not in log(worker)
