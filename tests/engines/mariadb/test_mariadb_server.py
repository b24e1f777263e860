"""G6: the MariaDB server is away, silent or killed in the middle of a cascade, and comes back.

The other databases go on, no attempt is counted, and in the end each row is gone and counted once.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import Error, connections
from django.utils import timezone

from apps.blog.models import Post
from apps.integrity import cascade
from apps.integrity.exceptions import CrossDatabaseError
from apps.integrity.models import Cascade, ChildDatabase, Deletion
from apps.integrity.queues import dispatch
from apps.shop.models import Order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Tune
    from tests.engines.servers.mariadb import MariaDB

    Converge = Callable[[], Counter[str]]

pytestmark = [
    pytest.mark.usefixtures("committed"),
    pytest.mark.filterwarnings("ignore:.*:ResourceWarning"),
]

USERS, POSTS = 20, 30
EXPECTED = {"blog.Post.author": USERS * POSTS, "shop.Order.customer": USERS}


@pytest.fixture(autouse=True)
def _small(tune: Tune) -> None:
    """Several steps, and databases that are probed soon."""
    tune(probe_seconds=0.1, claim_keys=5, statement_rows=20, statement_rows_max=20)


@pytest.fixture
def users(mariadb: MariaDB) -> Iterator[None]:
    """Users with posts and orders, deleted and dispatched; one who stays, with a post."""
    made = [User.objects.create(username=f"user-{number}") for number in range(USERS)]
    for user in made:
        Post.objects.bulk_create(Post(title="t", content="c", author=user) for _ in range(POSTS))
        Order.objects.create(order_number=user.username, customer=user, total=1)
    kept = User.objects.create(username="kept")
    Post.objects.create(title="t", content="c", author=kept)
    User.objects.exclude(pk=kept.pk).delete()
    dispatch.sweep_all()
    yield
    mariadb.thaw()
    if not mariadb.running:
        mariadb.start()
    mariadb.wait_until_ready()
    connections.close_all()


class Moment:
    """Does something to the server at the n-th write to the posts."""

    def __init__(self, number: int, act: Callable[[], object]) -> None:
        self.left, self.act = number, act

    def __call__(self, execute: Any, sql: str, *rest: Any) -> Any:
        if sql.lstrip().startswith(("DELETE", "WITH")) and "blog_post" in sql:
            self.left -= 1
            if self.left == 0:
                self.act()
        return execute(sql, *rest)


def healed(converge: Converge) -> Counter[str]:
    """Cascade the rest, from new connections; return the rows that the receipts count."""
    connections.close_all()
    past = timezone.now()
    ChildDatabase.objects.update(probe_at=past)
    Cascade.objects.filter(due_at__isnull=False).exclude(state="done").update(due_at=past)
    converge()
    receipts: Counter[str] = Counter()
    for deletion in Deletion.objects.all():
        assert deletion.state == "cascaded"
        for one in deletion.databases:
            receipts.update(one.rows)
    assert (Post.objects.count(), Order.objects.count()) == (1, 0)
    return receipts


def drained(database: str) -> None:
    """Work as a worker does, which survives that its log is away, too."""
    with suppress(CrossDatabaseError, Error):
        cascade.drain(database)


def test_stopped_before(converge: Converge, users: None, mariadb: MariaDB, layout: Any) -> None:
    if "default" in layout.mariadb:
        pytest.skip("nothing can be claimed without the log")
    with mariadb.stopped():
        assert cascade.drain("blog_db").unreachable
        states = Cascade.objects.filter(database="blog_db").values_list("state", "attempts")
        assert set(states) == {("pending", 0)}
    assert healed(converge) == EXPECTED


@pytest.mark.parametrize("write", [1, 4])
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_gone_during_a_cascade(
    converge: Converge, users: None, mariadb: MariaDB, how: str, write: int
) -> None:
    moment = Moment(write, getattr(mariadb, how))
    with connections["blog_db"].execute_wrapper(moment):
        drained("blog_db")
    assert moment.left <= 0
    assert not mariadb.running
    with suppress(CrossDatabaseError, Error):  # the log may be away as well
        assert not Cascade.objects.filter(database="blog_db", attempts__gt=1).exists()
        assert not Cascade.objects.filter(state="blocked").exists()
    mariadb.start().wait_until_ready()
    assert healed(converge) == EXPECTED


def test_frozen_during_a_cascade(
    converge: Converge, users: None, mariadb: MariaDB, layout: Any
) -> None:
    moment = Moment(3, mariadb.freeze)
    with pytest.MonkeyPatch.context() as patch:
        for alias in connections:
            if connections[alias].vendor == "mysql":
                connections[alias].close()
                options = {"connect_timeout": 1, "read_timeout": 2}
                patch.setitem(connections[alias].settings_dict, "OPTIONS", options)
        started = time.monotonic()
        with connections["blog_db"].execute_wrapper(moment):
            drained("blog_db")
        took = time.monotonic() - started
        mariadb.thaw()
        connections.close_all()
    assert moment.left <= 0
    assert took < 25
    assert not Cascade.objects.filter(database="blog_db", attempts__gt=1).exists()
    assert not Cascade.objects.filter(state="blocked").exists()
    assert healed(converge) == EXPECTED
