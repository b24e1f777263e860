"""CELERY_TASK_ALWAYS_EAGER: tasks run in place after the commit, and nobody asks a broker."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from celery import current_app
from django.contrib.auth.models import User
from django.db import connections, transaction
from django.test import TestCase

from apps.blog.models import Post
from apps.integrity import cascade
from apps.integrity.models import Cascade, Deletion
from apps.integrity.queues import celery_broker, notifier
from apps.shop.models import Order
from tests.kinds.left.models import Book
from tests.kinds.parents.models import Library
from tests.kinds.right.models import BookNote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Tune


@pytest.fixture(autouse=True)
def eager(committed: None, tune: Tune, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def asked(*_: Any) -> Any:
        raise AssertionError("a broker was asked")

    tune(wakeups=True)
    monkeypatch.setattr(celery_broker, "connection", asked)
    current_app.conf.task_always_eager = True  # no monkeypatch: it would delete it afterwards
    yield
    current_app.conf.task_always_eager = False


def write(name: str) -> User:
    user = User.objects.create(username=name)
    Post.objects.create(title="t", content="c", author=user)
    Order.objects.create(order_number=name, customer=user, total=1)
    return user


def left() -> tuple[int, int]:
    return Post.objects.count(), Order.objects.count()


def test_rows_elsewhere_are_gone_when_the_delete_returns() -> None:
    ann, _ = write("ann"), write("bob")
    ann.delete()
    assert left() == (1, 1)
    assert set(Cascade.objects.values_list("state", flat=True)) == {"done"}


def test_no_thread_is_started_and_none_keeps_a_connection() -> None:
    before = threading.enumerate()
    wrappers = {alias: connections[alias] for alias in connections}
    for name in ("ann", "bob"):
        write(name).delete()
    User.objects.all().delete()
    assert left() == (0, 0)
    assert threading.enumerate() == before
    assert {alias: connections[alias] for alias in connections} == wrappers


def test_a_rolled_back_delete_does_nothing() -> None:
    ann = write("ann")
    with transaction.atomic():
        ann.delete()
        assert left() == (1, 1)
        transaction.set_rollback(True)
    assert left() == (1, 1)
    assert Deletion.objects.count() == 0


def test_a_chain_goes_to_its_end() -> None:
    """A cascade deletes parents of a third database, in the middle of its own work."""
    library = Library.objects.create()
    book = Book.objects.create(library=library)
    BookNote.objects.create(book=book)
    library.delete()
    assert (Book.objects.count(), BookNote.objects.count()) == (0, 0)


def test_a_task_that_fails_leaves_the_delete_done_and_the_work_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("not today")

    ann = write("ann")
    with monkeypatch.context() as patch:
        patch.setattr(cascade, "drain", fail)
        ann.delete()
    assert not User.objects.exists()
    assert left() == (1, 1)
    write("bob").delete()
    assert left() == (0, 0)


class TestInATransaction(TestCase):
    databases = set(connections)

    def test_by_on_commit_callbacks(self) -> None:
        ann = write("ann")
        with self.captureOnCommitCallbacks(execute=True):
            ann.delete()
        assert left() == (0, 0)


def test_what_is_woken_meanwhile_comes_after_and_once() -> None:
    seen: list[str] = []

    def publish(alias: str) -> None:
        seen.append(f"begin {alias}")
        if alias == "a":
            for each in ("b", "b", "a") if len(seen) == 1 else ():
                place.notify(each)
        seen.append(f"end {alias}")

    place = notifier.InlineNotifier(publish)
    place.notify("a")
    assert sorted(seen) == sorted(
        f"{what} {alias}" for alias in ("a", "a", "b") for what in ("begin", "end")
    )
    assert seen[::2] == [each.replace("end", "begin") for each in seen[1::2]]
