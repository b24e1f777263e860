"""Messages are not authority: a thousand forged ones for a real worker change nothing.

The seed is printed; `FUZZ_SEED=n` replays another one, `FUZZ_MESSAGES=10000` sends more.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connections
from django.db.models import QuerySet

from apps.blog.models import Comment, Post
from apps.integrity.models import Cascade, Heartbeat, Identity, Scan, Suspect
from apps.shop.models import Order
from sandbox import project
from sandbox.environment import BROKER, VARIABLES
from sandbox.processes import eventually
from tests.acceptance import workers
from tests.acceptance.forger import FAR, HUGE, ORPHAN, Forger, poison
from tests.acceptance.workers import QUEUES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_django import DjangoDbBlocker

pytestmark = [pytest.mark.usefixtures("committed"), pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
SEED = int(os.environ.get("FUZZ_SEED", "1"))
MESSAGES = int(os.environ.get("FUZZ_MESSAGES", "1000"))
PATIENCE_SECONDS = 600


class Worker:
    """A real worker of the project, alone on its broker, in this test's databases."""

    def __init__(self, folder: Path) -> None:
        self.redis = redis.Redis.from_url(os.environ[BROKER])
        self.process = workers.worker(
            folder,
            "fuzzed@%h",
            "--concurrency=2",
            "--prefetch-multiplier=8",
            "--loglevel=WARNING",
            # Else what scans find is repaired, where a slow machine lets the grace period end.
            env={"DJANGO_SETTINGS_MODULE": "tests.report_only"},
        )

    def push(self, queue: str, *messages: bytes) -> None:
        for start in range(0, len(messages), 500):
            self.redis.lpush(queue, *messages[start : start + 500])

    def answers(self) -> bool:
        return bool(project.answering())

    def forget(self) -> None:
        """Leave no message to whoever uses the broker next."""
        self.redis.delete(*QUEUES, "unacked", "unacked_index")

    def idle(self) -> bool:
        return not any(self.redis.llen(queue) for queue in QUEUES)

    def wait(self, question: Callable[[], bool]) -> None:
        """Until the answer is yes; fails at once when the worker has ended."""
        answer = eventually(
            lambda: question() or not self.process.running, timeout=PATIENCE_SECONDS, pause=0.1
        )
        log = self.process.log.read_text(errors="replace")[-3_000:]
        assert self.process.running, f"the worker has ended: {log}"
        assert answer, log


@pytest.fixture(scope="module")
def started(
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Worker]:
    """Return a worker that tests share."""
    with django_db_blocker.unblock():
        shared = Worker(tmp_path_factory.mktemp("worker"))
    try:
        yield shared
    finally:
        shared.process.stop()
        shared.redis.close()


@pytest.fixture
def worker(started: Worker) -> Iterator[Worker]:
    """Return a worker that has answered, with an empty log and no message."""
    started.forget()
    if not started.process.running:
        started.process.start()
    started.wait(started.answers)
    os.truncate(started.process.log, 0)
    yield started
    started.forget()


@pytest.fixture
def victims() -> list[User]:
    """Live users with content, and orphans of a parent that no log row is about."""
    users = [User.objects.create(username=f"user{n}") for n in range(50)]
    for pk in [*(user.pk for user in users), ORPHAN]:
        post = Post.objects.create(title="t", content="c", author_id=pk)
        Comment.objects.create(post=post, author_id=pk, content="c")
        Order.objects.create(order_number=f"{pk}", customer_id=pk, total=1)
    return users


#: Signs of life, how far scans have come and what they suspect: what any honest tick writes, too.
TICKS = {Heartbeat, Scan, Identity, Suspect}


def everything() -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the project's databases, but for those of `TICKS`."""
    found = {}
    for alias in VARIABLES:
        with connections[alias].cursor() as cursor:
            there = set(connections[alias].introspection.table_names(cursor))
        for model in apps.get_models(include_auto_created=True):
            if model._meta.db_table in there and model not in TICKS and not model._meta.proxy:
                rows: QuerySet[Any] = QuerySet(model=model, using=alias)
                found[f"{alias}.{model._meta.label}"] = sorted(rows.values_list(), key=repr)
    return found


def a_real_deletion_is_cascaded(worker: Worker, user: User) -> None:
    pk = user.pk
    user.delete()
    forger = Forger(SEED, Path("nowhere"))
    wake_up = forger.envelope(forger.headers("integrity.dispatch"), forger.body())
    worker.push("integrity", wake_up)
    worker.wait(lambda: {*Cascade.objects.values_list("state", flat=True)} == {"done"})
    for rows in (
        Post.objects.filter(author_id=pk),
        Comment.objects.filter(author_id=pk),
        Order.objects.filter(customer_id=pk),
    ):
        assert not rows.exists()


def test_a_thousand_forged_messages_change_nothing(
    worker: Worker, victims: list[User], tmp_path: Path
) -> None:
    print(f"FUZZ_SEED={SEED}")  # noqa: T201 (to repeat a red run)
    canary = tmp_path / "unpickled"
    forger = Forger(SEED, canary)
    before = everything()
    messages = list(forger.messages(MESSAGES))
    for queue in QUEUES:
        worker.push(queue, *(message for each, message in messages if each == queue))
        worker.push(queue, forger.envelope(forger.headers("integrity.cascade"), HUGE))
        far = forger.headers("integrity.cascade", eta=FAR)
        worker.push(queue, *(forger.envelope(far, forger.body(["blog_db"])) for _ in range(5)))
    worker.wait(worker.idle)
    worker.wait(worker.answers)
    assert everything() == before
    assert not Cascade.objects.exists()
    assert not canary.exists()
    a_real_deletion_is_cascaded(worker, victims[0])
    assert Post.objects.filter(author_id=ORPHAN).exists()
    assert Post.objects.count() == len(victims)


def test_messages_that_nobody_can_read_do_not_end_the_worker(
    worker: Worker, victims: list[User], tmp_path: Path
) -> None:
    before = everything()
    # As often as the pool has processes, and more: none may take a place for good.
    poisoned = [*poison().values()] * 4
    broken = [*Forger(SEED, tmp_path).unreadable(500)]
    nowhere = Forger(SEED, tmp_path).nowhere()
    worker.push("integrity", *poisoned, *broken, *nowhere)
    worker.wait(worker.idle)
    worker.wait(worker.answers)
    assert everything() == before
    a_real_deletion_is_cascaded(worker, victims[0])
    worker.wait(lambda: not worker.redis.hlen("unacked"))
    said = worker.process.log.read_text(errors="replace")
    assert said.count("dropped a message that this worker cannot run") == len(poisoned + broken)
    assert said.count("unknown child database") == len(nowhere) - 1
    assert said.count("unknown database with a deletion log 'blog_db'") == 1
    assert "forger" not in said
    assert "Traceback" not in said
