"""Rows that stay: kept by a trigger, refused, too many at once, or in another transaction's hands.

None of them keeps another deletion, or another relation of the same deletion, from being done.
"""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.db.models.signals import pre_delete
from django.utils import timezone

from apps.blog.models import Comment, Post
from apps.integrity import backends, cascade
from apps.integrity.backends.errors import Trouble
from apps.integrity.cascade.blockers import LOCKED, Blocker, Fate, fate, reason_of
from apps.integrity.log import claims
from apps.integrity.models import Cascade, ChildDatabase
from apps.integrity.queues import dispatch
from tests.kinds.left.models import Item, Nulled, Shelf
from tests.kinds.parents.models import Giver, Owner, Root
from tests.kinds.right.models import Leaf
from tests.log_rows import cascade_of, cascade_states, check_partitions, in_database

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from tests.conftest import Tune

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")

numbers = itertools.count()


@contextmanager
def trigger(alias: str, table: str, event: str, body: str) -> Iterator[None]:
    """A BEFORE trigger for each row of a table, whose function has that body."""
    name = f"stays_{next(numbers)}"
    with connections[alias].cursor() as cursor:
        cursor.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS"
            f" $body$ BEGIN {body} END $body$;"
            f" CREATE TRIGGER {name} BEFORE {event} ON {table}"
            f" FOR EACH ROW EXECUTE FUNCTION {name}()"
        )
    try:
        yield
    finally:
        with connections[alias].cursor() as cursor:
            cursor.execute(f"DROP TRIGGER {name} ON {table}; DROP FUNCTION {name}()")


def owners(number: int, leaves: int = 1) -> list[Owner]:
    made = Owner.objects.bulk_create(Owner() for _ in range(number))
    Leaf.objects.bulk_create(Leaf(owner=each) for each in made for _ in range(leaves))
    return made


def all_due() -> None:
    Cascade.objects.update(due_at=timezone.now())


def of(key: object, database: str = "test_right") -> Cascade:
    return cascade_of(key, database)


KEPT = "RowsKept: 'test_right' keeps rows of right.Leaf.owner although nothing has locked them"


class TestKeptByTheDatabase:
    """G1, G7, G11: what changed nothing is a failure with its reason, and in nobody's way."""

    def test_a_trigger_that_skips_the_delete_of_many_rows(
        self, tune: Tune, converge: Converge
    ) -> None:
        tune(statement_rows=100, statement_rows_max=100)
        [held], others = owners(1, leaves=120), owners(20)
        key = held.pk
        with trigger(
            "test_right",
            "right_leaf",
            "DELETE",
            f"IF OLD.owner_id = {held.pk} THEN RETURN NULL; END IF; RETURN OLD;",
        ):
            Owner.objects.all().delete()
            assert converge() == {"right.Leaf.owner": 20}
        assert Leaf.objects.count() == 120
        waiting = of(key)
        assert (waiting.state, waiting.attempts) == ("waiting", 1)
        assert waiting.reason.startswith(KEPT)
        assert waiting.failing.keys() == {"right.Leaf.owner"}
        assert cascade_states(database="test_right", state="done") == ["done"] * len(others)
        check_partitions()
        all_due()
        assert converge() == {"right.Leaf.owner": 120}

    def test_it_is_blocked_after_its_attempts(self, tune: Tune, converge: Converge) -> None:
        tune(attempts=2)
        owners(1)
        Owner.objects.all().delete()
        with trigger("test_right", "right_leaf", "DELETE", "RETURN NULL;"):
            for _ in range(2):
                converge()
                all_due()
        assert Cascade.objects.get(database="test_right").state == "blocked"

    def test_a_trigger_that_lets_a_key_stay(self) -> None:
        """SET_NULL: the UPDATE says that it changed the row, which still holds its key."""
        bad, good = Giver.objects.create(), Giver.objects.create()
        for giver in (bad, good):
            Nulled.objects.create(giver=giver)
        key = bad.pk
        body = f"IF OLD.giver_id = {key} THEN NEW.giver_id = {key}; END IF; RETURN NEW;"
        with trigger("test_left", "left_nulled", "UPDATE", body):
            Giver.objects.all().delete()
            dispatch.sweep_all()
            assert cascade.drain("test_left", seconds=5).rows == {"left.Nulled.giver": 1}
            row = of(key, "test_left")
            assert (row.state, row.attempts) == ("waiting", 1)
            assert "keeps rows of left.Nulled.giver" in row.reason

    def test_a_trigger_below_a_cascade(self, converge: Converge) -> None:
        """The root goes first; the leaf that stays is seen by its foreign key, at the commit."""
        bad, good = Root.objects.create(), Root.objects.create()
        for root in (bad, good):
            shelf = Shelf.objects.create(root=root)
            Item.objects.create(box=shelf.box_set.create())
        key, item = bad.pk, Item.objects.get(box__shelf__root=bad.pk)
        body = f"IF OLD.id = {item.pk} THEN RETURN NULL; END IF; RETURN OLD;"
        with trigger("test_left", "left_item", "DELETE", body):
            Root.objects.all().delete()
            converge()
            assert Item.objects.get() == item
            assert Shelf.objects.get().root_id == key
            row = of(key, "test_left")
            assert (row.state, row.attempts) == ("waiting", 1)
            assert "IntegrityError" in row.reason

    def test_one_without_a_constraint_is_looked_for(
        self, converge: Converge, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = Root.objects.create()
        box = Shelf.objects.create(root=root).box_set.create()
        Item.objects.create(box=box)
        form = type(backends.row_backend("test_left"))
        monkeypatch.setattr(form, "is_constrained", lambda *_, **__: False)
        with trigger("test_left", "left_item", "DELETE", "RETURN NULL;"):
            root.delete()
            converge()
            row = Cascade.objects.get(database="test_left")
        assert (row.state, Item.objects.count(), Shelf.objects.count()) == ("waiting", 1, 1)
        assert "keeps rows of left.Item.box" in row.reason

    def test_beside_a_row_that_somebody_holds(
        self, tune: Tune, converge: Converge, locked: Any
    ) -> None:
        tune(lock_seconds=0.1)
        held, kept, *others = owners(6)
        keys = held.pk, kept.pk
        body = f"IF OLD.owner_id = {kept.pk} THEN RETURN NULL; END IF; RETURN OLD;"
        with (
            trigger("test_right", "right_leaf", "DELETE", body),
            locked(Leaf.objects.filter(owner=held)),
        ):
            Owner.objects.all().delete()
            assert converge() == {"right.Leaf.owner": len(others)}
            # What was put back for the lock comes again by itself, and tells the two apart.
            for _ in range(3):
                all_due()
                converge()
            assert of(keys[0]).reason == f"right.Leaf.owner: {LOCKED}"
            assert of(keys[0]).attempts == 0
            assert of(keys[1]).reason.startswith(KEPT)
            assert of(keys[1]).attempts > 0


class TestRefusedByCodeOfTheDatabase:
    """One of twenty is refused: nineteen are done at once, whatever the class of the error."""

    @pytest.mark.parametrize(
        "error",
        [
            "RAISE EXCEPTION 'no'",
            "RAISE EXCEPTION 'no' USING ERRCODE = '42501'",
            "PERFORM 1 FROM there_is_no_such_table",
            "RAISE EXCEPTION 'no' USING ERRCODE = '23514'",
            "RAISE EXCEPTION 'no' USING ERRCODE = 'ZZ001'",
        ],
    )
    def test_only_its_own_deletion_waits(self, converge: Converge, error: str) -> None:
        made = owners(20)
        key = made[7].pk
        body = f"IF OLD.owner_id = {key} THEN {error}; END IF; RETURN OLD;"
        with trigger("test_right", "right_leaf", "DELETE", body):
            Owner.objects.all().delete()
            assert converge() == {"right.Leaf.owner": 19}
            row = of(key)
            assert (row.state, row.attempts) == ("waiting", 1)
            done = Cascade.objects.filter(database="test_right", state="done")
            assert set(done.values_list("attempts", flat=True)) == {1}


class TestInTheWay:
    """Another transaction was in the way: soon again, uncounted."""

    @pytest.mark.parametrize("code", ["40001", "40P01", "55P03"])
    def test_once(self, converge: Converge, code: str) -> None:
        owners(3)
        with connections["test_right"].cursor() as cursor:
            cursor.execute("CREATE SEQUENCE tries")
        body = (
            f"IF nextval('tries') < 4 THEN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END IF;"
            " RETURN OLD;"
        )
        try:
            with trigger("test_right", "right_leaf", "DELETE", body):
                Owner.objects.all().delete()
                for _ in range(4):
                    converge()
                    all_due()
        finally:
            with connections["test_right"].cursor() as cursor:
                cursor.execute("DROP SEQUENCE tries")
        rows = Cascade.objects.filter(database="test_right")
        assert set(rows.values_list("state", "attempts")) == {("done", 1)}
        assert not Leaf.objects.exists()

    def test_a_step_waits_no_longer_than_its_own_limit(
        self, tune: Tune, converge: Converge, locked: Any
    ) -> None:
        """Whatever the server or the connection allow."""
        tune(lock_seconds=0.2)
        held, *_ = owners(3)
        connections["test_right"].ensure_connection()
        with connections["test_right"].cursor() as cursor:
            cursor.execute("SET lock_timeout = 0")
        try:
            with locked(Leaf.objects.filter(owner=held)):
                Owner.objects.all().delete()
                assert converge() == {"right.Leaf.owner": 2}
        finally:
            connections["test_right"].close()

    def test_a_row_that_was_locked_is_waited_for_only_once(
        self, tune: Tune, converge: Converge, locked: Any
    ) -> None:
        """Else a lock of an hour would hold up all that is claimed with it, each time."""
        tune(lock_seconds=0.1)
        held, *_ = owners(2)
        statements_of_the_second_run: list[str] = []

        def look(execute: Any, sql: str, *rest: Any) -> Any:
            statements_of_the_second_run.append(sql)
            return execute(sql, *rest)

        with locked(Leaf.objects.filter(owner=held)):
            Owner.objects.all().delete()
            converge()
            all_due()
            owners(1)
            Owner.objects.all().delete()
            with connections["test_right"].execute_wrapper(look):
                assert converge() == {"right.Leaf.owner": 1}
            deletes = [sql for sql in statements_of_the_second_run if "DELETE FROM" in sql]
            assert deletes
            assert all("SKIP LOCKED" in sql for sql in deletes)
        all_due()
        assert converge() == {"right.Leaf.owner": 1}


class TestTooLarge:
    """A statement that is cancelled is tried with half of it, and that is remembered."""

    @pytest.fixture(autouse=True)
    def impatient_server(self, committed: None) -> Iterator[None]:
        with connections["test_right"].cursor() as cursor:
            cursor.execute("SET statement_timeout = '400ms'")
        yield
        connections["test_right"].close()

    def test_a_slow_row_shrinks_the_step_until_it_is_done(
        self, tune: Tune, converge: Converge
    ) -> None:
        tune(statement_rows=64, statement_rows_max=64)
        owners(2, leaves=30)
        with trigger("test_right", "right_leaf", "DELETE", "PERFORM pg_sleep(0.02); RETURN OLD;"):
            Owner.objects.all().delete()
            assert converge() == {"right.Leaf.owner": 60}
        rows = Cascade.objects.filter(database="test_right")
        assert set(rows.values_list("state", "attempts")) == {("done", 1)}
        remembered = ChildDatabase.objects.get(alias="test_right").step_rows
        assert remembered is not None
        assert 1 < remembered["right.Leaf.owner"] < 64

    def test_one_row_that_is_too_large_is_a_failure_of_its_own_deletion(
        self, tune: Tune, converge: Converge
    ) -> None:
        tune(statement_rows=8, statement_rows_max=8)
        made = owners(4)
        key = made[1].pk
        body = f"IF OLD.owner_id = {key} THEN PERFORM pg_sleep(5); END IF; RETURN OLD;"
        with trigger("test_right", "right_leaf", "DELETE", body):
            Owner.objects.all().delete()
            assert converge() == {"right.Leaf.owner": 3}
            assert (of(key).state, of(key).attempts) == ("waiting", 1)

    def test_what_was_remembered_is_where_the_next_run_begins(
        self, tune: Tune, converge: Converge
    ) -> None:
        tune(statement_rows=64, statement_rows_max=64)
        ChildDatabase.objects.create(alias="test_right", step_rows={"right.Leaf.owner": 3})
        owners(1, leaves=10)
        limits: list[int] = []

        def look(execute: Any, sql: str, params: Any, *rest: Any) -> Any:
            if "DELETE" in sql and "right_leaf" in sql:
                limits.extend(each for each in params if isinstance(each, int))
            return execute(sql, params, *rest)

        Owner.objects.all().delete()
        with connections["test_right"].execute_wrapper(look):
            converge()
        assert min(limits) == 3
        assert max(limits) < 10


class TestEachRelationByItself:
    """A relation that fails keeps no other relation of the same users from their rows."""

    @pytest.fixture
    def poisoned(self) -> Iterator[set[Any]]:
        keys: set[Any] = set()

        def refuse(instance: Post, **_: object) -> None:
            if instance.author_id in keys:
                raise ValueError("this post stays")

        pre_delete.connect(refuse, sender=Post)
        yield keys
        pre_delete.disconnect(refuse, sender=Post)

    def test_the_others_go_and_the_reason_names_the_one(
        self, converge: Converge, poisoned: set[Any]
    ) -> None:
        bad, good, writer = (User.objects.create(username=name) for name in "abc")
        post = Post.objects.create(title="t", content="c", author=writer)
        for user in (bad, good):
            Post.objects.create(title="t", content="c", author=user)
            Comment.objects.create(post=post, author=user, content="c")
        poisoned.add(key := bad.pk)
        User.objects.filter(pk__in=[bad.pk, good.pk]).delete()
        assert converge() == {"blog.Comment.author": 2, "blog.Post.author": 1}
        row = of(key, "blog_db")
        [(relation, reason)] = row.failing.items()
        assert (relation, reason[:22]) == ("blog.Post.author", "ValueError in receiver")
        assert row.reason == f"{relation}: {reason}"
        assert in_database(key, "blog_db").rows == {"blog.Comment.author": 1}
        poisoned.clear()
        all_due()
        assert converge() == {"blog.Post.author": 1}
        row.refresh_from_db()
        assert (row.state, row.failing) == ("done", None)
        assert in_database(key, "blog_db").rows == {"blog.Comment.author": 1, "blog.Post.author": 1}

    def test_one_that_fails_for_the_rows_of_another_is_tried_again(
        self, converge: Converge
    ) -> None:
        """A post stays as long as its author has comments: the alphabet does not decide."""

        def refuse(instance: Comment, **_: object) -> None:
            if Post.objects.filter(author_id=instance.author_id).exists():
                raise ValueError("the posts go first")

        user, writer = User.objects.create(username="a"), User.objects.create(username="b")
        Post.objects.create(title="t", content="c", author=user)
        other = Post.objects.create(title="t", content="c", author=writer)
        Comment.objects.create(post=other, author=user, content="c")
        user.delete()
        pre_delete.connect(refuse, sender=Comment)
        try:
            assert converge() == {"blog.Comment.author": 1, "blog.Post.author": 1}
        finally:
            pre_delete.disconnect(refuse, sender=Comment)
        assert Cascade.objects.get(database="blog_db").attempts == 1

    def test_a_missing_table_of_one_relation_keeps_no_other_from_its_rows(
        self, converge: Converge, renamed: Callable[[str, str], Any]
    ) -> None:
        user, writer = User.objects.create(username="a"), User.objects.create(username="b")
        post = Post.objects.create(title="t", content="c", author=writer)
        Comment.objects.create(post=post, author=user, content="c")
        key = user.pk
        user.delete()
        with renamed("blog_db", "blog_post"):
            assert converge() == {"blog.Comment.author": 1}
            row = of(key, "blog_db")
            assert (row.state, row.attempts) == ("waiting", 0)
            assert "there is no table 'blog_post' in 'blog_db'" in row.reason
        all_due()
        converge()
        assert of(key, "blog_db").state == "done"


class TestLeases:
    """A claim whose holder is at work is not lost, however long its step takes."""

    def test_it_is_renewed_while_a_step_lasts(self, tune: Tune) -> None:
        tune(lease_seconds=0.6)
        owners(1)
        Owner.objects.all().delete()
        dispatch.sweep_all()
        taken: list[Any] = []

        def somebody_else() -> None:
            try:
                for _ in range(4):
                    time.sleep(0.4)
                    taken.append(
                        claims.claim("test_right", using="default", limit=9, lease_seconds=9)
                    )
            finally:
                connections.close_all()

        thread = threading.Thread(target=somebody_else)
        with trigger("test_right", "right_leaf", "DELETE", "PERFORM pg_sleep(2); RETURN OLD;"):
            thread.start()
            done = cascade.drain("test_right")
            thread.join()
        assert taken == [None] * 4
        assert done.finished == 1
        assert Cascade.objects.get(database="test_right").attempts == 1

    def test_one_that_nobody_renews_is_taken_over(self, tune: Tune) -> None:
        owners(1)
        Owner.objects.all().delete()
        dispatch.sweep_all()
        assert claims.claim("test_right", using="default", limit=9, lease_seconds=0.1)
        time.sleep(0.3)
        assert claims.claim("test_right", using="default", limit=9, lease_seconds=0.1)


def blocker(trouble: Trouble, relation: str = "a.B.c", *, bisect: bool = False) -> Blocker:
    return Blocker(relation=relation, trouble=trouble, reason=f"because {trouble}", bisect=bisect)


@pytest.mark.parametrize(
    ("troubles", "expected"),
    [
        ([Trouble.CONTENTION], Fate.SOON),
        ([Trouble.HINDERED, Trouble.CONTENTION], Fate.SOON),
        ([Trouble.SCHEMA], Fate.WAIT),
        ([Trouble.CONTENTION, Trouble.SCHEMA], Fate.WAIT),
        ([Trouble.TOO_LARGE], Fate.COUNT),
        ([Trouble.REFUSED], Fate.COUNT),
        ([Trouble.BUG], Fate.COUNT),
        ([Trouble.SCHEMA, Trouble.REFUSED, Trouble.CONTENTION], Fate.COUNT),
    ],
)
def test_the_worst_trouble_decides(troubles: list[Trouble], expected: Fate) -> None:
    assert fate([blocker(each) for each in troubles]) is expected


def test_cascades_that_block_each_other_are_bisected() -> None:
    assert fate([blocker(Trouble.CONTENTION, bisect=True)]) is Fate.BISECT


def test_a_reason_names_some_of_its_relations() -> None:
    labels = [f"a.B.key{n}" for n in range(5)]
    assert (
        reason_of([blocker(Trouble.BUG, each) for each in labels])
        == "a.B.key0, a.B.key1, a.B.key2 and 2 more: because bug"
    )
    assert reason_of([blocker(Trouble.BUG, "")]) == "because bug"
