"""A slice begins with one transaction along all relations, which holds up none of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.db.backends.postgresql.base import DatabaseWrapper

from apps.blog.models import Comment, Post
from apps.integrity import cascade
from apps.integrity.cascade import steps
from apps.integrity.models import Cascade
from apps.integrity.queues import dispatch
from tests.kinds.parents.models import Owner
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from tests.conftest import Captured, Tune

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")

USERS = 3


@pytest.fixture(autouse=True)
def patient(tune: Tune) -> None:
    """A busy machine is no reason for a second transaction."""
    tune(statement_seconds=30)


def users_with_content() -> list[User]:
    users = [User.objects.create(username=f"user{number}") for number in range(USERS)]
    for user in users:
        post = Post.objects.create(author=user, title="a post", content="")
        Comment.objects.create(author=user, post=post, content="")
    return users


def run(sql: str, database: str = "blog_db") -> None:
    with connections[database].cursor() as cursor:
        cursor.execute(sql)


def test_it_is_one_transaction_with_one_check_for_all(
    captured: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    users_with_content()
    cascade.drain("blog_db")  # the databases have met
    User.objects.filter(username__startswith="user").delete()
    dispatch.sweep("default")
    commits, plain = list[str](), DatabaseWrapper._commit

    def commit(self: Any) -> Any:
        commits.append(self.alias)
        return plain(self)

    monkeypatch.setattr(DatabaseWrapper, "_commit", commit)
    with captured:
        done = cascade.drain("blog_db")
    assert done.rows == {"blog.Post.author": USERS, "blog.Comment.author": USERS}
    statements = [sql for sql in captured["blog_db"] if "pg_constraint" not in sql]  # asked once
    deletes = [sql for sql in statements if "DELETE FROM" in sql]
    assert [re.findall(r'FROM "(blog_\w+)"', sql)[0] for sql in deletes] == [
        "blog_comment",
        "blog_post",
        "blog_comment",  # others' comments on those posts
    ]
    assert commits.count("blog_db") == 1
    between = statements[statements.index(deletes[0]) : statements.index(deletes[-1]) + 1]
    assert between == deletes
    begin = [sql for sql in statements if "lock_timeout" in sql]
    assert len(begin) == 1  # all settings of the transaction
    # Before the rows go, and before the commit: none was left, so nobody asks again.
    parents = [sql for sql in captured["default"] if 'FROM "auth_user" AS one' in sql]
    assert len(parents) == 2
    # Each statement saw as many rows as it deleted, so nobody looks for them again.
    assert not [sql for sql in statements if "AS present" in sql]


def test_a_relation_that_fails_in_it_holds_up_no_other(converge: Converge) -> None:
    users = users_with_content()
    run(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no'; END $$"
    )
    run("CREATE TRIGGER refuse BEFORE DELETE ON blog_post EXECUTE FUNCTION refuse()")
    try:
        User.objects.filter(pk__in=[user.pk for user in users]).delete()
        converge()
        assert (Comment.objects.count(), Post.objects.count()) == (0, USERS)
        failing = {label for one in Cascade.objects.all() for label in one.failing or ()}
        assert failing == {"blog.Post.author"}
    finally:
        run("DROP FUNCTION refuse CASCADE")
    Cascade.objects.update(due_at=Cascade.objects.earliest("recorded_at").recorded_at)
    converge()
    assert not Post.objects.exists()


@pytest.mark.parametrize("table", ["blog_post", "right_leaf"])
def test_a_row_that_a_trigger_keeps_is_no_row_that_went(converge: Converge, table: str) -> None:
    parents: list[Any]
    if table == "blog_post":
        database, parents = "blog_db", users_with_content()
    else:
        database, parents = "test_right", [Owner.objects.create() for _ in range(USERS)]
        Leaf.objects.bulk_create(Leaf(owner=owner) for owner in parents)
    run(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RETURN CASE WHEN OLD.id % 3 = 0 THEN NULL ELSE OLD END; END $$",
        database,
    )
    run(
        f"CREATE TRIGGER keep BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION keep()",
        database,
    )
    try:
        type(parents[0]).objects.filter(pk__in=[one.pk for one in parents]).delete()
        converge()
        states = [
            one.state for one in Cascade.objects.filter(database=database) for _ in range(one.size)
        ]
        assert sorted(states) == ["done", "done", "waiting"]
    finally:
        run("DROP FUNCTION keep CASCADE", database)


def test_parents_that_come_back_meanwhile_keep_all_their_rows(
    converge: Converge, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = users_with_content()
    keys, plain, came = [user.pk for user in users], steps._require_gone, list[int]()

    def come_back(*given: Any) -> None:
        if not came:
            came.append(keys[0])
            User.objects.create(pk=keys[0], username="again")
        plain(*given)

    monkeypatch.setattr(steps, "_require_gone", come_back)
    User.objects.filter(pk__in=keys).delete()
    assert converge() == {"blog.Post.author": USERS - 1, "blog.Comment.author": USERS - 1}
    assert Post.objects.get().author_id == keys[0] == Comment.objects.get().author_id
