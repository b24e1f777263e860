"""Workers beside each other and beside transactions that hold rows, with MariaDB on either side."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connections, transaction
from django.utils import timezone

from apps.blog.models import Comment, Post
from apps.integrity import cascade
from apps.integrity.exceptions import ChildDatabaseUnavailable
from apps.integrity.models import Cascade, Deletion
from apps.integrity.queues import dispatch
from apps.shop.models import Order
from sandbox.environment import for_django
from sandbox.processes import Process, eventually, stop_all
from sandbox.project import ROOT
from tests.acceptance.workers import environment
from tests.kinds.left.models import Box, Item, Label, Shelf
from tests.kinds.parents.models import Guarded, Owner, Root
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Tune

    Converge = Callable[[], Counter[str]]

pytestmark = [
    pytest.mark.usefixtures("committed"),
    pytest.mark.filterwarnings("ignore:.*:ResourceWarning"),
]

USERS, EACH, PROCESSES = 100, 3, 4
CLEAN, INCOMPLETE = 0, 4


def test_four_processes_count_each_row_once(tmp_path: Path) -> None:
    users = User.objects.bulk_create(User(username=f"user-{n}") for n in range(USERS))
    kept = User.objects.create(username="kept")
    for user in [*users, kept]:
        Post.objects.bulk_create(Post(title="t", content="c", author=user) for _ in range(EACH))
    others = Post.objects.exclude(author_id=kept.pk)
    Comment.objects.bulk_create(Comment(post=post, author=kept, content="c") for post in others)
    Order.objects.bulk_create(
        Order(order_number=f"{user.username}", customer=user, total=1) for user in users
    )
    for user in users:  # a deletion each, and a batch each: enough to fight over
        user.delete()
        dispatch.sweep("default")
    env = {**environment(), **for_django(debug=False)}
    env["DJANGO_SETTINGS_MODULE"] = "tests.engines.mariadb.small_claims"
    command = [sys.executable, "manage.py", "integrity", "drain", "--json", "--timeout", "120"]
    workers = [
        Process(command, log=tmp_path / f"drain-{n}.log", env=env, cwd=ROOT)
        for n in range(PROCESSES)
    ]
    try:
        for worker in workers:
            worker.start()
        assert eventually(lambda: not any(each.running for each in workers), timeout=150)
    finally:
        stop_all(workers)
    # Who ends while another one still works has not seen the end.
    ends = [worker.poll() for worker in workers]
    assert {*ends} <= {CLEAN, INCOMPLETE}, [worker.log.read_text() for worker in workers]
    rows: Counter[str] = Counter()
    for worker in workers:
        rows.update(_document(worker.log)["rows"])
    expected = {
        "blog.Post.author": USERS * EACH,
        "blog.Comment.post": USERS * EACH,
        "shop.Order.customer": USERS,
    }
    assert rows == expected
    receipts: Counter[str] = Counter()
    for deletion in Deletion.objects.all():
        assert deletion.state == "cascaded"
        for one in deletion.databases:
            receipts.update(one.rows)
    assert receipts == expected
    assert Post.objects.count() == EACH
    assert set(Cascade.objects.values_list("state", "attempts")) == {("done", 1)}


def _document(log: Path) -> dict[str, Any]:
    """Return the last line: warnings of the process may precede it."""
    found: dict[str, Any] = json.loads(log.read_text().splitlines()[-1])
    return found


def test_rows_that_somebody_holds_wait_uncounted_and_hold_up_no_other(
    converge: Converge, locked: Any
) -> None:
    owners = [Owner.objects.create() for _ in range(3)]
    leaves = Leaf.objects.bulk_create(Leaf(owner=owner) for owner in owners)
    Owner.objects.all().delete()
    with locked(Leaf.objects.filter(owner_id=leaves[1].owner_id)):
        dispatch.sweep("default")
        done = cascade.drain("test_right")
        assert done.rows == {"right.Leaf.owner": 2}
        assert Leaf.objects.get().owner_id == leaves[1].owner_id
    Cascade.objects.filter(due_at__isnull=False).update(due_at=timezone.now())
    assert converge() == {"right.Leaf.owner": 1}
    assert not Leaf.objects.exists()
    assert set(Cascade.objects.values_list("state", "attempts")) == {("done", 1)}


def test_a_delete_that_asks_a_locked_table_is_refused_soon(tune: Tune, layout: Any) -> None:
    if "blog_db" not in layout.mariadb:
        pytest.skip("the children are in PostgreSQL")
    tune(lock_seconds=1)
    guarded = Guarded.objects.create()

    def waits() -> Any:
        with connections["test_left"].cursor() as cursor:
            cursor.execute("SELECT @@lock_wait_timeout, @@innodb_lock_wait_timeout")
            return cursor.fetchone()

    before = waits()
    other = connections["test_left"].copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("LOCK TABLES left_protecting WRITE")
        begun = time.monotonic()
        with pytest.raises(ChildDatabaseUnavailable, match=r"left\.Protecting\.guarded"):
            guarded.delete()
        assert time.monotonic() - begun < 20
    finally:
        other.close()
    assert waits() == before
    guarded.delete()
    assert not Guarded.objects.exists()


def test_a_deadlock_in_the_child_is_no_failure(converge: Converge, layout: Any) -> None:
    """Another transaction holds an item, and asks for the shelf once the cascade has that."""
    if "blog_db" not in layout.mariadb:
        pytest.skip("the children are in PostgreSQL")
    roots = Root.objects.bulk_create(Root() for _ in range(2))
    for root in roots:
        shelf = Shelf.objects.create(root=root)
        Label.objects.create(shelf=shelf)
        Item.objects.create(box=Box.objects.create(shelf=shelf))
    other = Other(Item.objects.earliest("pk"), Shelf.objects.earliest("pk"))
    Root.objects.all().delete()
    dispatch.sweep("default")
    with other, connections["test_left"].execute_wrapper(other.after_a_write):
        done = cascade.drain("test_left")
        assert not done.failed
        states = Cascade.objects.filter(database="test_left").values_list("state", "attempts")
        assert set(states) <= {("pending", 0), ("done", 1)}
    assert other.outcome == "committed"
    Cascade.objects.filter(due_at__isnull=False).update(due_at=timezone.now())
    converge()
    assert (Shelf.objects.count(), Box.objects.count(), Item.objects.count()) == (0, 0, 0)
    assert Label.objects.filter(shelf=None).count() == 2 + Other.ROWS
    receipts: Counter[str] = Counter()
    for deletion in Deletion.objects.all():
        for one in deletion.databases:
            receipts.update(one.rows)
    assert receipts == {
        "left.Shelf.root": 2,
        "left.Box.shelf": 2,
        "left.Item.box": 2,
        "left.Label.shelf": 2,
    }


class Other:
    """A transaction that has written so much that InnoDB ends the other one in a deadlock."""

    ROWS = 200

    def __init__(self, item: Item, shelf: Shelf) -> None:
        self.item, self.shelf, self.outcome = item, shelf, ""
        self.held, self.written = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            with transaction.atomic(using="test_left"):
                Label.objects.bulk_create(Label() for _ in range(self.ROWS))
                assert Item.objects.select_for_update().get(pk=self.item.pk)
                self.held.set()
                self.written.wait(30)
                assert Shelf.objects.select_for_update().filter(pk=self.shelf.pk).count() <= 1
            self.outcome = "committed"
        except OperationalError as error:
            self.outcome = str(error.args[0])
        finally:
            connections.close_all()

    def __enter__(self) -> None:
        self.thread.start()
        assert self.held.wait(30)

    def __exit__(self, *_: object) -> None:
        self.written.set()
        self.thread.join()

    def after_a_write(self, execute: Any, sql: str, *rest: Any) -> Any:
        """Let the transaction ask for the shelf once something was deleted."""
        result = execute(sql, *rest)
        if sql.startswith(("DELETE", "UPDATE")) and "left_" in sql and not self.written.is_set():
            self.written.set()
            self.thread.join(0.3)
        return result
