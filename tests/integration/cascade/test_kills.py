"""Workers are killed by SIGKILL, again and again: each receipt counts what was there before."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import connections

from apps.blog.models import Comment, Post
from apps.integrity import cascade, failpoints
from apps.integrity.cascade import verification
from apps.integrity.failpoints import Failpoint
from apps.integrity.models import Cascade, Deletion, Tally
from apps.integrity.models.moments import ServerNow
from apps.integrity.queues import dispatch
from apps.integrity.report.receipts import receipt_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

USERS, DEADLY = 30, (Failpoint.REMOVED, Failpoint.REMOVAL_COMMITTED, Failpoint.FINISHED)
#: Connections that a forked process has inherited: closing them would end those of the test.
_inherited: list[Any] = []


def killed(work: Callable[[], object], chance: random.Random) -> bool:
    """Let a process work, and kill itself somewhere; return whether it did."""
    seed = chance.random()
    if pid := os.fork():
        return os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    try:
        for connection in connections.all(initialized_only=True):
            _inherited.append(connection.connection)
            connection.connection = None
        fate = random.Random(seed)  # noqa: S311 (no secret)

        def hit(point: Failpoint) -> None:
            if point in DEADLY and fate.random() < 0.3:
                os.kill(os.getpid(), signal.SIGKILL)

        failpoints.hit = hit
        work()
    finally:
        os._exit(0)


def populated(chance: random.Random) -> dict[int, Counter[str]]:
    """Make users with posts and comments; return what each one's receipt has to count."""
    users = [User.objects.create(username=str(number)) for number in range(USERS)]
    expected = {user.pk: Counter[str]() for user in users}
    for user in users:
        posts = [Post(author=user, title="", content="") for _ in range(chance.randrange(12))]
        Post.objects.bulk_create(posts)
        mine = [Comment(author=user, post=posts[0], content="") for _ in posts * 2]
        Comment.objects.bulk_create(mine)
        expected[user.pk] += Counter(post=len(posts), comment=len(mine))
    return expected


@pytest.mark.parametrize("seed", range(2))
def test_receipts_count_every_row_whoever_is_killed(seed: int, tune: Tune) -> None:
    tune(
        statement_rows=7,
        statement_rows_max=7,
        claim_keys=8,
        attempts=1_000,
        grace_seconds=0.001,
        backoff_seconds=0.001,
    )
    chance = random.Random(seed)  # noqa: S311 (no secret)
    expected = populated(chance)
    User.objects.filter(pk__in=expected).delete()
    dispatch.sweep_all()
    deaths = 0
    while Cascade.objects.filter(database="blog_db", state__in=Cascade.OPEN).exists():
        Cascade.objects.filter(state__in=["running", "waiting"]).update(due_at=ServerNow())
        deaths += killed(lambda: cascade.drain("blog_db"), chance)
    while Cascade.objects.filter(database="blog_db").exclude(state="verified").exists():
        verification.verify("blog_db")
    assert deaths > 20
    assert counted() == expected
    assert Tally.objects.using("blog_db").count() > 20


def counted() -> dict[int, Counter[str]]:
    """Return what the receipts count, by the kind of row."""
    found = dict[int, Counter[str]]()
    for deletion in Deletion.objects.all():
        counts = found[int(deletion.key or 0)] = Counter()
        (line,) = [
            each for each in receipt_of(deletion)["cascades"] if each["database"] == "blog_db"
        ]
        assert line["rows_exact"]
        for label, number in line["rows"].items():
            counts[label.split(".")[1].lower()] += number
    return found
