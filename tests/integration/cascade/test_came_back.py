"""A parent that comes back between the look and the statement keeps its rows."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import connections

from apps.blog.models import Comment, Post
from apps.integrity import cascade
from apps.integrity.cascade.strategies import STEP_FUNCTIONS
from apps.integrity.models import Cascade, Deletion
from apps.integrity.queues import dispatch
from apps.shop.models import Order

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("committed")


def elsewhere(act: Callable[[], object]) -> None:
    """Run it on connections of its own, as another process would."""

    def run() -> None:
        try:
            act()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


@pytest.fixture
def before_each_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    def arrange(act: Callable[[], None]) -> None:
        def interrupted(step: Any) -> Any:
            def run(*args: Any, **kwargs: Any) -> Any:
                act()
                return step(*args, **kwargs)

            return run

        for way, step in list(STEP_FUNCTIONS.items()):
            monkeypatch.setitem(STEP_FUNCTIONS, way, interrupted(step))

    return arrange


@pytest.mark.parametrize("database", ["shop_db", "blog_db"])
def test_rows_old_and_new_are_kept(
    before_each_step: Callable[[Callable[[], None]], None], database: str
) -> None:
    user, other = User.objects.create(username="ann"), User.objects.create(username="ben")
    key = user.pk

    def write(name: str) -> None:
        Order.objects.create(order_number=name, customer_id=key, total=1)
        post = Post.objects.create(title=name, content="", author_id=key)
        Comment.objects.create(post=post, author=other, content="")

    def come_back() -> None:
        if not User.objects.filter(pk=key).exists():
            User.objects.create(pk=key, username="ann")
            write("new")

    write("old")
    user.delete()
    dispatch.sweep("default")
    before_each_step(lambda: elsewhere(come_back))
    done = cascade.drain(database)
    assert (done.kept, done.rows) == (1, {})
    assert sorted(Order.objects.values_list("order_number", flat=True)) == ["new", "old"]
    assert sorted(Post.objects.values_list("title", flat=True)) == ["new", "old"]
    assert Comment.objects.count() == 2
    assert Cascade.objects.get(database=database).state == "kept"
    assert Cascade.objects.exclude(database=database).get().state == "pending"
    cascade.drain("blog_db" if database == "shop_db" else "shop_db")
    assert Deletion.objects.get().state == "kept"


def test_the_others_of_its_claim_go_on(
    before_each_step: Callable[[Callable[[], None]], None],
) -> None:
    users = [User.objects.create(username=name) for name in ("ann", "ben", "cat")]
    back = users[1].pk
    for user in users:
        Order.objects.create(order_number=user.username, customer=user, total=1)
    User.objects.all().delete()
    dispatch.sweep("default")

    def come_back() -> None:
        User.objects.get_or_create(pk=back, defaults={"username": "ben"})

    before_each_step(lambda: elsewhere(come_back))
    done = cascade.drain("shop_db")
    assert (done.finished, done.kept) == (2, 1)
    assert done.rows == {"shop.Order.customer": 2}
    assert Order.objects.get().order_number == "ben"
