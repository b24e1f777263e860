"""Cascades whose rows are in MariaDB: many rows, locks, deadlocks, and constraints nobody knows."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connections
from django.db.models.signals import post_delete

from apps.blog.models import Comment, Post
from apps.integrity import cascade
from apps.integrity.models import Cascade
from apps.integrity.queues import dispatch
from sandbox.processes import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Captured, Locked, Tune

pytestmark = pytest.mark.usefixtures("committed")

BLOG = "blog_db"


@pytest.fixture(autouse=True)
def _on_mariadb(committed: None) -> None:
    if connections[BLOG].vendor != "mysql":
        pytest.skip("the children are in PostgreSQL")


def users(number: int, posts: int = 1) -> list[User]:
    made = [User.objects.create(username=f"user{n}") for n in range(number)]
    Post.objects.bulk_create(
        Post(author=user, title="a post", content="") for _ in range(posts) for user in made
    )
    return made


def delete(*gone: User) -> None:
    User.objects.filter(pk__in=[user.pk for user in gone]).delete()
    dispatch.sweep("default")


def run(*statements: str) -> None:
    with connections[BLOG].cursor() as cursor:
        for sql in statements:
            cursor.execute(sql)


def test_a_user_with_many_rows_and_leaves_of_others(tune: Tune) -> None:
    gone, stays = users(2, posts=3_000)
    Comment.objects.bulk_create(
        Comment(author=stays, post=post, content="") for post in Post.objects.all()
    )
    delete(gone)
    rows = cascade.drain(BLOG).rows
    assert rows == {"blog.Post.author": 3_000, "blog.Comment.post": 3_000}
    assert Post.objects.filter(author_id=stays.pk).count() == 3_000
    assert Comment.objects.count() == Post.objects.count() == 3_000


def test_a_deletion_with_few_rows_takes_few_statements(captured: Captured) -> None:
    first, second = users(2)
    delete(first)
    cascade.drain(BLOG)  # the databases have met
    delete(second)
    with captured:
        assert cascade.drain(BLOG).rows == {"blog.Post.author": 1}
    sent = [sql for sql in captured[BLOG] if "blog_" in sql and "integrity" not in sql]
    verbs = [sql.removeprefix("SET STATEMENT sql_safe_updates=1 FOR ")[:6] for sql in sent]
    # Comments; posts are locked, lose their comments, and go; nothing is looked for once more.
    assert verbs.count("DELETE") == 3
    assert verbs.count("SELECT") <= 3


class TestALockedRow:
    def test_holds_up_no_other_deletion_and_no_drain(
        self, locked: type[Locked], tune: Tune
    ) -> None:
        tune(lock_seconds=1.0)
        gone = users(10)
        held = Post.objects.filter(author_id=gone[0].pk)
        delete(*gone)
        began = time.monotonic()
        with locked(held):
            drained = cascade.drain(BLOG)
            seconds = time.monotonic() - began
            assert drained.finished == 9
            assert Post.objects.count() == 1
        assert seconds < 15
        (waiting,) = Cascade.objects.filter(database=BLOG, state__in=Cascade.OPEN)
        assert waiting.size == 1
        assert waiting.attempts == 0
        assert "locked" in waiting.reason

    def test_of_somebody_else_holds_up_nothing(self, locked: type[Locked]) -> None:
        gone, stays = users(2, posts=5)
        delete(gone)
        with locked(Post.objects.filter(author_id=stays.pk)):
            assert cascade.drain(BLOG).finished == 1
        assert Post.objects.count() == 5


@contextmanager
def deadlock_with(first: int, then: int) -> Iterator[Callable[[], None]]:
    """Let another session lock the row `first`, and then wait for `then` and be the cheaper one."""
    other = connections[BLOG].copy()
    other.inc_thread_sharing()
    other.set_autocommit(False)
    lock = "SELECT id FROM blog_post WHERE id = %s FOR UPDATE"

    def wait() -> None:
        with other.cursor() as cursor:
            cursor.execute(lock, [then])

    with other.cursor() as cursor:
        # Rows that it has changed make it the more expensive one, so it survives.
        cursor.execute(
            "INSERT INTO blog_post (author_id, title, content, created_at) "
            "SELECT 999999, '', '', NOW(6) FROM seq_1_to_50"
        )
        cursor.execute(lock, [first])
    thread = threading.Thread(target=wait)

    def begin() -> None:
        thread.start()
        time.sleep(0.5)

    try:
        yield begin
    finally:
        thread.join(30)
        other.rollback()
        other.close()


class TestADeadlock:
    """The server rolls back all of a transaction, and its savepoints."""

    @pytest.mark.parametrize("swallowed", [False, True])
    def test_in_a_receiver_is_contention(self, swallowed: bool) -> None:  # noqa: FBT001
        (gone,) = users(1, posts=2)
        (other,) = [User.objects.create(username="other")]
        held = Post.objects.create(author=other, title="", content="")
        mine = Post.objects.filter(author_id=gone.pk).order_by("pk")[0]
        delete(gone)
        met = list[Exception]()

        with deadlock_with(held.pk, mine.pk) as begin:

            def receiver(**_: Any) -> None:
                if met:
                    return
                begin()
                try:
                    run(f"SELECT id FROM blog_post WHERE id = {held.pk} FOR UPDATE")  # noqa: S608
                except OperationalError as error:
                    met.append(error)
                    if not swallowed:
                        raise

            post_delete.connect(receiver, sender=Post)
            try:
                drained = cascade.drain(BLOG)
            finally:
                post_delete.disconnect(receiver, sender=Post)
        assert met
        assert met[0].__cause__.args[0] == 1213  # type: ignore[union-attr]
        left = Cascade.objects.filter(database=BLOG, state__in=Cascade.OPEN)
        assert [one.attempts for one in left] in ([], [0])
        if not drained.finished:
            Cascade.objects.filter(state__in=Cascade.OPEN).update(due_at="2020-01-01 00:00Z")
            drained = cascade.drain(BLOG)
        assert drained.finished == 1
        assert not Post.objects.filter(author_id=gone.pk).exists()
        (done,) = Cascade.objects.filter(database=BLOG)
        counted = sum(number for rows in done.rows.values() for number in rows.values())
        assert counted == 2


class TestAConstraintThatDjangoDoesNotKnow:
    @pytest.fixture(autouse=True)
    def _bill(self, _on_mariadb: None) -> Iterator[None]:
        run(
            "CREATE TABLE bill (post_id BIGINT NOT NULL, CONSTRAINT bill_post"
            " FOREIGN KEY (post_id) REFERENCES blog_post (id) ON DELETE RESTRICT)"
        )
        yield
        run("DROP TABLE bill")

    def test_refuses_that_row_alone(self) -> None:
        gone = users(8)
        kept = Post.objects.get(author_id=gone[3].pk)
        run(f"INSERT INTO bill VALUES ({kept.pk})")  # noqa: S608
        delete(*gone)

        def alone() -> bool:
            Cascade.objects.filter(state__in=Cascade.OPEN).update(due_at="2020-01-01 00:00Z")
            cascade.drain(BLOG)
            return Post.objects.count() == 1

        assert eventually(alone, timeout=30)
        assert Post.objects.get() == kept
        (left,) = Cascade.objects.filter(database=BLOG, state__in=Cascade.OPEN)
        assert left.size == 1
        assert "1451" in left.reason
