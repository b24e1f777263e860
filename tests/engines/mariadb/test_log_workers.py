"""G4: four worker processes at once over one log on MariaDB lose and count nothing twice."""

from __future__ import annotations

import datetime as dt
import functools
import json
import os
import threading
import time
import traceback
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connections, transaction
from django.utils import timezone

from apps.blog.models import Comment, Post
from apps.integrity import capture, cascade
from apps.integrity.backends.transactions import atomic, require_whole, retried
from apps.integrity.cascade import verification
from apps.integrity.log import claims, deletions, outcomes
from apps.integrity.models import Cascade, Deletion
from apps.integrity.models.querysets import TRIES
from apps.integrity.queues import dispatch
from apps.shop.models import Order
from tests.log_rows import make

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

WORKERS, USERS, POSTS, ORDERS = 4, 60, 6, 3
LEVELS = ("read committed", "repeatable read")
#: Connections that a forked process has inherited: closing them would end those of the test.
_inherited: list[Any] = []


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    """The isolation level of all connections, as a project may configure it."""
    if connections["default"].vendor != "mysql":
        pytest.skip("the log is on another engine")
    mine = [each for each in connections.all() if each.vendor == "mysql"]
    for connection in mine:
        connection.close()
        connection.settings_dict["OPTIONS"]["isolation_level"] = request.param
    yield request.param
    for connection in mine:
        connection.close()
        del connection.settings_dict["OPTIONS"]["isolation_level"]


def at_once(work: Callable[[], object], number: int, folder: Path) -> list[Any]:
    """Run `work` in so many processes; return what each has returned, which is JSON."""
    pids = [_forked(work, folder / str(each)) for each in range(number)]
    for pid in pids:
        os.waitpid(pid, 0)
    return [json.loads((folder / str(each)).read_text()) for each in range(number)]


def _forked(work: Callable[[], object], path: Path) -> int:
    if pid := os.fork():
        return pid
    try:
        for connection in connections.all(initialized_only=True):
            _inherited.append(connection.connection)
            connection.connection = None
        path.write_text(json.dumps(work()))
    except BaseException:  # noqa: BLE001 (the test shows it)
        path.write_text(json.dumps({"error": traceback.format_exc()}))
    finally:
        os._exit(0)


def worked() -> dict[str, Any]:
    """Dispatch, cascade and verify until nothing is left; return what was done."""
    rows, failed, until = Counter[str](), 0, time.monotonic() + 120
    while time.monotonic() < until and _is_left():
        dispatch.sweep("default")
        for database in ("blog_db", "shop_db"):
            done = cascade.drain(database)
            rows.update(done.rows)
            failed += done.failed
            verification.verify(database)
    return {"rows": rows, "failed": failed, "left": _is_left()}


def _is_left() -> bool:
    open_cascades = Cascade.objects.filter(ended_at__isnull=True)
    return Deletion.objects.filter(batch__isnull=True).exists() or open_cascades.exists()


def test_four_processes_share_the_work(level: str, tune: Tune, tmp_path: Path) -> None:
    tune(claim_keys=5, statement_rows=20, statement_rows_max=20, grace_seconds=0.001)
    users = [User.objects.create(username=str(number)) for number in range(USERS)]
    for user in users:
        posts = [Post(author=user, title="", content="") for _ in range(POSTS)]
        Post.objects.bulk_create(posts)
        Comment.objects.bulk_create(Comment(author=user, post=posts[0], content="") for _ in "ab")
        Order.objects.bulk_create(
            Order(customer=user, order_number=f"{user.pk} {each}", total=1)
            for each in range(ORDERS)
        )
    for user in users[:-1]:
        user.delete()
    done = at_once(worked, WORKERS, tmp_path)
    assert not [each["error"] for each in done if "error" in each]
    assert [(each["failed"], each["left"]) for each in done] == [(0, False)] * WORKERS
    gone = USERS - 1
    expected = {
        "blog.Post.author": gone * POSTS,
        "blog.Comment.author": gone * 2,
        "shop.Order.customer": gone * ORDERS,
    }
    rows = sum((Counter(each["rows"]) for each in done), Counter())
    assert {label: rows[label] for label in expected} == expected
    assert {*Cascade.objects.values_list("state", flat=True)} == {"verified"}
    told = Counter[str]()
    logged = list(Deletion.objects.all())
    assert len(logged) == gone
    for row in logged:
        for one in row.databases:
            told.update(one.rows)
    assert {label: told[label] for label in expected} == expected
    assert (Post.objects.count(), Order.objects.count()) == (POSTS, ORDERS)
    for database in ("blog_db", "shop_db"):
        held = [pk for row in Cascade.objects.filter(database=database) for pk in row.deletions]
        assert sorted(held) == sorted(row.pk for row in logged)


def test_many_dispatchers_put_each_deletion_into_one_batch(level: str, tmp_path: Path) -> None:
    for first in range(0, 400, 20):
        capture.record((User, range(10**6 + first, 10**6 + first + 20)), using="default")

    def dispatched() -> int:
        number = 0
        while made := deletions.dispatch(using="default", limit=7)[0]:
            number += made
        return number

    done = at_once(dispatched, WORKERS, tmp_path)
    assert all(isinstance(each, int) for each in done), done
    dispatch.sweep("default")
    held = [pk for row in Cascade.objects.filter(database="blog_db") for pk in row.deletions]
    assert sorted(held) == sorted(Deletion.objects.values_list("pk", flat=True))
    batches = Deletion.objects.values_list("pk", "batch")
    by_cascade = {pk: row.batch for row in Cascade.objects.all() for pk in row.deletions}
    assert dict(batches) == by_cascade


def test_a_dispatcher_holds_up_no_delete(level: str) -> None:
    """It locks the rows that it takes, and neither their neighbours nor the place of new ones."""
    capture.record((User, range(10**6, 10**6 + 5)), using="default")
    other = connections["default"].copy()
    try:
        with atomic("default"):
            assert deletions.dispatch(using="default", limit=10)[0] == 5
            with other.cursor() as cursor:
                cursor.execute("SET innodb_lock_wait_timeout = 1")
                cursor.execute(
                    "INSERT INTO integrity_deletion (parent, `key`, source)"
                    " VALUES ('auth.User', '7', 'signal')"
                )
    finally:
        other.close()


def test_a_broken_deadlock_ends_the_whole_transaction(level: str) -> None:
    """A savepoint does not survive it, so what is tolerated elsewhere is raised again."""
    for pk in (1, 2):
        User.objects.create(pk=pk, username=str(pk))
    locked = threading.Event()

    def other() -> None:
        with transaction.atomic():
            # It has changed more, so the other one is ended.
            User.objects.bulk_create(User(username=f"x{number}") for number in range(50))
            User.objects.filter(pk=2).update(first_name="other")
            locked.set()
            User.objects.filter(pk=1).update(first_name="other")
        connections.close_all()

    thread = threading.Thread(target=other)

    def mine() -> None:
        with transaction.atomic():
            User.objects.filter(pk=1).update(first_name="mine")
            thread.start()
            assert locked.wait(10)
            try:
                with transaction.atomic():
                    User.objects.filter(pk=2).update(first_name="mine")
            except OperationalError as error:
                require_whole("default", error)
            User.objects.filter(pk=2).update(last_name="what follows")

    with pytest.raises(OperationalError, match="1213"):
        mine()
    thread.join()
    assert [*User.objects.filter(pk__in=[1, 2]).values_list("first_name", "last_name")] == [
        ("other", "")
    ] * 2


def test_a_deadlock_is_tried_again(level: str) -> None:
    calls = list[int]()

    @retried
    def change() -> str:
        calls.append(1)
        with atomic("default"):
            User.objects.create(username="once")
            if len(calls) < TRIES:
                with connections["default"].cursor() as cursor:
                    cursor.execute("SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213")
        return "done"

    assert change() == "done"
    assert (len(calls), User.objects.count()) == (TRIES, 1)


def test_it_is_not_tried_again_inside_a_transaction(level: str) -> None:
    calls = list[int]()

    @retried
    def change() -> None:
        calls.append(1)
        with connections["default"].cursor() as cursor:
            cursor.execute("SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213")

    with pytest.raises(OperationalError), transaction.atomic():
        change()
    assert calls == [1]


def test_what_it_reads_after_a_wait_is_what_is_there(level: str) -> None:
    """Whatever the project's level is, the log's transactions see what was committed meanwhile."""
    (row,) = make("auth.User", [1], ["blog_db"])
    other = connections["default"].copy()
    try:
        with atomic("default"):
            assert Cascade.objects.get().reason == ""
            with other.cursor() as cursor:
                cursor.execute("UPDATE integrity_cascade SET reason = 'new'")
            assert Cascade.objects.get().reason == "new"
    finally:
        other.close()
    assert row.pk


def test_who_has_lost_its_claim_finishes_nothing(level: str) -> None:
    """G4: also where the other one's claim is not committed yet when it tries."""
    make("auth.User", [1], ["blog_db"])
    first = claims.claim("blog_db", using="default", limit=10, lease_seconds=10.0)
    assert first is not None
    Cascade.objects.update(due_at=timezone.now() - dt.timedelta(seconds=1))
    finished: list[list[int]] = []

    def finish() -> None:
        finished.append(outcomes.finish(first, {pk: {"x": 1} for pk in first.ids}, barrier=None))
        connections.close_all()

    late = threading.Thread(target=finish)
    with transaction.atomic():
        second = claims.claim("blog_db", using="default", limit=10, lease_seconds=10.0)
        assert second is not None
        assert second.ids == first.ids
        late.start()
        late.join(0.5)
        assert late.is_alive()  # it waits for the row
    late.join(30)
    assert finished == [[]]
    row = Cascade.objects.get()
    assert (row.state, row.claim, row.rows) == ("running", second.token, None)
    assert outcomes.finish(second, {pk: {} for pk in second.ids}, barrier=None) == second.ids


def test_two_purges_at_once_remove_each_deletion_once(
    level: str, tune: Tune, at_once: Callable[..., list[Any]]
) -> None:
    tune(retention_days=1, purge_keys=3)
    old = timezone.now() - dt.timedelta(days=2)
    for number in range(30):
        make("auth.User", [number], ["blog_db", "shop_db"], state="verified", ended_at=old)
    begun = Deletion.objects.count()

    def purge() -> int:
        return sum(iter(functools.partial(deletions.purge, using="default"), 0))

    assert sum(at_once(purge, purge, purge)) == begun == 30
    assert not Deletion.objects.exists()
    assert not Cascade.objects.exists()
