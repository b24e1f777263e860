"""G9: the proof waits for its grace period and for every transaction that was open before."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.utils import timezone

from apps.blog.models import Comment, Post
from apps.integrity import cascade, relations
from apps.integrity.cascade import verification
from apps.integrity.models import Cascade, Deletion
from apps.integrity.queues import dispatch
from apps.integrity.relations import Catalogue, discovery
from sandbox.processes import eventually
from tests import log_rows
from tests.kinds.parents.models import Owner
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Tune

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")


def all_due() -> None:
    Cascade.objects.update(due_at=timezone.now())


@contextmanager
def transaction_of_another(alias: str) -> Iterator[Any]:
    """A connection of its own, inside a transaction."""
    other = connections[alias].copy()
    try:
        other.set_autocommit(False)
        yield other
    finally:
        other.close()


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(1, id="and other rows went"),
        pytest.param(0, id="and no other row was there"),
    ],
)
def test_a_row_of_a_transaction_that_was_open_all_the_while_is_found(
    converge: Converge, rows: int
) -> None:
    owner = Owner.objects.create()
    key = owner.pk
    Leaf.objects.bulk_create(Leaf(owner_id=key) for _ in range(rows))
    cascade.drain("test_right")  # the databases have met
    with transaction_of_another("test_right") as other:
        with other.cursor() as cursor:
            cursor.execute("INSERT INTO right_leaf (owner_id) VALUES (%s)", [key])
        owner.delete()
        assert converge().total() == rows
        all_due()
        done = verification.verify("test_right")
        assert (done.verified, done.reopened) == (0, 0)
        assert Cascade.objects.get(database="test_right").state == "done"
        other.commit()
    assert eventually(lambda: verification.verify("test_right").reopened == 1, timeout=30)
    assert converge() == {"right.Leaf.owner": 1}
    assert not Leaf.objects.exists()


def test_nothing_is_proven_before_the_grace_period_is_over(tune: Tune, converge: Converge) -> None:
    tune(grace_seconds=600)
    Owner.objects.create().delete()
    converge()
    row = Cascade.objects.get(database="test_right")
    assert 500 < (row.due_at - timezone.now()).total_seconds() <= 600
    assert log_rows.unverified(using="default") == frozenset()
    assert verification.verify("test_right").verified == 0
    all_due()
    assert log_rows.unverified(using="default") == {"test_left", "test_right"}
    assert eventually(lambda: verification.verify("test_right").verified == 1, timeout=30)


def test_a_deletion_is_verified_when_its_last_database_is(converge: Converge) -> None:
    User.objects.create(username="ann").delete()
    converge()
    all_due()
    for database, state in (("blog_db", "cascaded"), ("shop_db", "verified")):
        assert eventually(
            lambda alias=database: verification.verify(alias).verified == 1, timeout=30
        )
        deletion = Deletion.objects.get()
        assert deletion.state == state
        assert (deletion.verified_at is not None) == (state == "verified")


def test_a_deletion_is_cascaded_no_more_once_rows_came_late(converge: Converge) -> None:
    owner = Owner.objects.create()
    key = owner.pk
    owner.delete()
    converge()
    assert Deletion.objects.get().state == "cascaded"
    all_due()
    Leaf.objects.create(owner_id=key)
    assert eventually(lambda: verification.verify("test_right").reopened == 1, timeout=30)
    deletion = Deletion.objects.get()
    assert (deletion.state, deletion.cascaded_at) == ("dispatched", None)
    row = Cascade.objects.get(database="test_right")
    assert (row.state, row.claim, row.reason) == ("pending", None, "rows came after the cascade")
    assert dispatch.sweep("default") == (0, frozenset({"test_right"}))


def test_a_relation_that_the_worker_did_not_know_yet_is_found_by_one_that_does(
    converge: Converge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rolling deploy: the old release cascades, and the new one has one more relation there."""
    ann, bob = (User.objects.create(username=name) for name in ("ann", "bob"))
    post = Post.objects.create(title="t", content="c", author=bob)
    Post.objects.create(title="t", content="c", author=ann)
    Comment.objects.create(post=post, author=ann, content="c")
    new = relations.catalogue()
    old = Catalogue(tuple(each for each in new.relations if each.label != "blog.Comment.author"))
    with monkeypatch.context() as release:
        release.setattr(discovery, "_known", [old])
        ann.delete()
        assert converge() == {"blog.Post.author": 1}
        assert Deletion.objects.get().state == "cascaded"
    all_due()
    assert eventually(lambda: verification.verify("blog_db").reopened == 1, timeout=30)
    assert converge() == {"blog.Comment.author": 1}
    assert list(Post.objects.all()) == [post]
    [rows] = Cascade.objects.get(database="blog_db").rows.values()
    assert rows == {"blog.Post.author": 1, "blog.Comment.author": 1}


def test_an_open_transaction_holds_up_what_ended_after_it_began_and_nothing_else(
    converge: Converge,
) -> None:
    Owner.objects.create().delete()
    converge()
    with transaction_of_another("test_right") as other:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_current_xact_id()")
        all_due()
        assert eventually(lambda: verification.verify("test_right").verified == 1, timeout=30)
        owner = Owner.objects.create()
        Leaf.objects.create(owner=owner)
        owner.delete()
        converge()
        all_due()
        assert verification.verify("test_right").verified == 0
    assert eventually(lambda: verification.verify("test_right").verified == 1, timeout=30)
    assert Counter(
        Cascade.objects.filter(database="test_right").values_list("state", flat=True)
    ) == {"verified": 2}
