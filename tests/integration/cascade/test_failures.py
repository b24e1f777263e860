"""What fails stays alone: one key, one database; the error is kept, attempts are counted."""

from __future__ import annotations

import signal
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.db.models.signals import pre_delete
from django.utils import timezone

from apps.blog.models import Post
from apps.integrity import backends, cascade
from apps.integrity.backends import missing_tables
from apps.integrity.cascade import verification, worker
from apps.integrity.models import Cascade, ChildDatabase, Deletion
from apps.integrity.queues import dispatch
from apps.integrity.report import status
from apps.shop.models import Order
from sandbox.processes import eventually
from tests.kinds.left.models import Box, Seal, Shelf, Vault
from tests.kinds.parents.models import Owner, Root, Safe
from tests.log_rows import cascade_states, check_partitions, deletion_of, in_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sandbox.servers import Sandbox
    from tests.conftest import Tune

    Converge = Callable[[], Counter[str]]

pytestmark = [
    pytest.mark.usefixtures("committed"),
    pytest.mark.filterwarnings("ignore:.*:ResourceWarning"),
]


def states(**wanted: Any) -> Counter[str]:
    return Counter(cascade_states(**wanted))


def all_due() -> None:
    Cascade.objects.update(due_at=timezone.now())


class Poison(Exception):
    pass


@pytest.fixture
def poisoned() -> Iterator[set[Any]]:
    """Parent keys whose shelves cannot be deleted."""
    keys: set[Any] = set()

    def refuse(instance: Shelf, **_: object) -> None:
        if instance.root_id in keys:
            raise Poison(f"shelf of root {instance.root_id}\nwith a second line")

    pre_delete.connect(refuse, sender=Shelf)
    yield keys
    pre_delete.disconnect(refuse, sender=Shelf)


def roots(number: int) -> list[Root]:
    made = Root.objects.bulk_create(Root() for _ in range(number))
    for each in made:
        Box.objects.create(shelf=Shelf.objects.create(root=each))
    return made


class TestPoison:
    def test_only_the_one_that_fails_waits_and_all_others_are_done(
        self, converge: Converge, poisoned: set[Any]
    ) -> None:
        made = roots(20)
        bad = made[7].pk
        poisoned.add(bad)
        Root.objects.all().delete()
        assert converge() == {"left.Shelf.root": 19, "left.Box": 19}
        assert states() == {"done": 19, "waiting": 1}
        row = Cascade.objects.get(state="waiting")
        assert row.deletions == [deletion_of(bad).pk]
        check_partitions()
        assert row.reason == (
            "left.Shelf.root: test_failures.Poison in receiver"
            " test_failures.poisoned.<locals>.refuse"
        )
        assert Shelf.objects.get().root_id == bad

    def test_its_attempts_are_counted_until_it_is_blocked_with_the_error(
        self, tune: Tune, converge: Converge, poisoned: set[Any]
    ) -> None:
        tune(attempts=3)
        [bad] = roots(1)
        poisoned.add(bad.pk)
        bad.delete()
        seen = []
        for _ in range(4):
            converge()
            row = Cascade.objects.get()
            seen.append((row.state, row.attempts))
            all_due()
        assert seen == [("waiting", 1), ("waiting", 2), ("blocked", 3), ("blocked", 3)]
        assert row.reason.startswith(
            "left.Shelf.root: test_failures.Poison in receiver test_failures."
        )
        assert row.failing == {"left.Shelf.root": row.reason.removeprefix("left.Shelf.root: ")}
        assert Deletion.objects.get().state == "dispatched"

    def test_it_is_done_once_the_cause_is_gone(
        self, converge: Converge, poisoned: set[Any]
    ) -> None:
        [bad] = roots(1)
        poisoned.add(bad.pk)
        bad.delete()
        assert converge() == {}
        poisoned.clear()
        all_due()
        assert converge() == {"left.Shelf.root": 1, "left.Box": 1}
        row = Cascade.objects.get()
        assert (row.state, row.reason) == ("done", "")
        assert Deletion.objects.get().state == "cascaded"

    def test_a_failure_is_no_failure_of_those_it_was_claimed_with(
        self, converge: Converge, poisoned: set[Any]
    ) -> None:
        made = roots(8)
        poisoned.add(made[0].pk)
        Root.objects.all().delete()
        converge()
        assert set(Cascade.objects.filter(state="done").values_list("attempts", flat=True)) == {1}
        assert set(Cascade.objects.values_list("reason", flat=True).filter(state="done")) == {""}

    def test_what_was_removed_before_the_failure_stays_in_the_receipts(
        self, converge: Converge
    ) -> None:
        """The first relation is done for all when the second one fails for one."""
        users = User.objects.bulk_create(User(username=f"{n}") for n in range(4))
        for user in users:
            author = users[0] if user is users[1] else user
            post = Post.objects.create(title="t", content="c", author=user)
            post.comments.create(author=author, content="c")
        bad = users[3].pk
        keys = [str(each.pk) for each in users]

        def refuse(instance: Post, **_: object) -> None:
            if instance.author_id == bad:
                raise Poison

        pre_delete.connect(refuse, sender=Post)
        try:
            User.objects.all().delete()
            removed = converge()
        finally:
            pre_delete.disconnect(refuse, sender=Post)
        all_due()
        removed += converge()
        assert removed == {"blog.Comment.author": 4, "blog.Post.author": 4}
        receipts = {
            row.key: dict(in_database(row, "blog_db").rows) for row in Deletion.objects.all()
        }
        assert receipts == {
            keys[0]: {"blog.Comment.author": 2, "blog.Post.author": 1},
            keys[1]: {"blog.Post.author": 1},
            keys[2]: {"blog.Comment.author": 1, "blog.Post.author": 1},
            keys[3]: {"blog.Comment.author": 1, "blog.Post.author": 1},
        }

    def test_a_missing_table_lets_the_whole_claim_wait_in_one_go_and_uncounted(
        self, converge: Converge, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Owner.objects.bulk_create(Owner() for _ in range(50))
        Owner.objects.all().delete()
        claimed = []
        plain = worker._Run.work
        monkeypatch.setattr(
            worker._Run,
            "work",
            lambda *args, **options: (claimed.append(args[1].database), plain(*args, **options)),
        )
        with without_table("test_right", "right_leaf"):
            converge()
        assert claimed.count("test_right") == 1
        rows = Cascade.objects.filter(database="test_right")
        remedy = "Run `manage.py migrate --database test_right`"
        assert set(rows.values_list("state", "attempts", "reason")) == {
            (
                "waiting",
                0,
                f"right.Leaf.owner: there is no table 'right_leaf' in 'test_right'. {remedy}",
            )
        }
        assert states(database="test_left") == {"done": 50}
        all_due()
        converge()
        assert states() == {"done": 100}

    def test_rows_that_are_refused_are_no_reason_to_look_for_tables(
        self, converge: Converge, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looks = list[Any]()
        monkeypatch.setattr(
            missing_tables, "unusable_table", lambda *args: looks.append(args) or ""
        )
        for _ in range(3):
            Vault.objects.create(safe=Safe.objects.create())
        Safe.objects.all().delete()
        Seal.objects.bulk_create(Seal(vault=each) for each in Vault.objects.all())
        converge()
        assert states(database="test_left") == {"waiting": 3}
        assert not looks

    def test_a_protected_row_is_retried_and_blocks_nothing_else(self, converge: Converge) -> None:
        good = Safe.objects.create()
        Vault.objects.create(safe=good)
        bad = Vault.objects.create(safe=Safe.objects.create())
        Safe.objects.all().delete()
        Seal.objects.create(vault=bad)
        assert converge() == {"left.Vault.safe": 1}
        assert states() == {"done": 1, "waiting": 1}


class TestUnreachable:
    @pytest.fixture
    def users(self) -> list[User]:
        users = User.objects.bulk_create(User(username=f"{n}") for n in range(5))
        Post.objects.bulk_create(Post(title="t", content="c", author=each) for each in users)
        Order.objects.bulk_create(
            Order(order_number=f"{each.pk}", customer=each, total=1) for each in users
        )
        return users

    def test_it_waits_with_the_reason_burns_no_attempt_and_touches_no_other(
        self,
        tune: Tune,
        converge: Converge,
        refuse: Callable[[str], Any],
        users: list[User],
    ) -> None:
        tune(probe_seconds=60)
        with refuse("blog_db"):
            User.objects.all().delete()
            dispatch.sweep_all()
            done = cascade.drain("blog_db")
            assert "refused" in done.unreachable
            assert (done.finished, done.failed, done.rows) == (0, 0, {})
            assert cascade.drain("shop_db").rows == {"shop.Order.customer": 5}
        row = ChildDatabase.objects.get()
        assert row.alias == "blog_db"
        assert "refused" in row.reason
        assert states(database="blog_db", attempts=0) == {"pending": 5}
        assert states(database="shop_db") == {"done": 5}
        assert cascade.drain("blog_db").rows == {}  # not asked again before the interval is over
        ChildDatabase.objects.update(probe_at=timezone.now())
        assert converge() == {"blog.Post.author": 5}
        row.refresh_from_db()
        assert (row.unreachable_since, row.reason) == (None, "")
        assert set(Cascade.objects.values_list("attempts", flat=True)) == {1}

    def test_a_run_before_the_next_probe_still_says_that_it_is_unreachable(
        self, tune: Tune, refuse: Callable[[str], Any], users: list[User]
    ) -> None:
        tune(probe_seconds=60)
        users[0].delete()
        dispatch.sweep_all()
        with refuse("blog_db"):
            reasons = [cascade.drain("blog_db").unreachable for _ in range(2)]
        assert reasons[0]
        assert reasons[1] == reasons[0]

    def test_a_connection_that_died_while_idle_is_replaced(
        self, converge: Converge, users: list[User]
    ) -> None:
        with connections["blog_db"].cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            pid = cursor.fetchone()[0]
        kill("blog_db", pid)
        users[0].delete()
        assert converge() == {"blog.Post.author": 1, "shop.Order.customer": 1}
        assert not ChildDatabase.objects.exists()

    def test_a_database_lost_in_the_middle_of_a_claim_burns_no_attempt(
        self,
        tune: Tune,
        refuse: Callable[[str], Any],
        users: list[User],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        tune(probe_seconds=60)
        User.objects.all().delete()
        dispatch.sweep_all()
        lost = refuse("blog_db")
        form = type(backends.row_backend("blog_db"))
        plain = form.delete_rows

        def lose(self: Any, *args: Any, using: str, **kwargs: Any) -> Any:
            if using == "blog_db":
                lost.__enter__()
            return plain(self, *args, using=using, **kwargs)

        monkeypatch.setattr(form, "delete_rows", lose)
        try:
            done = cascade.drain("blog_db")
        finally:
            lost.__exit__(None, None, None)
        assert done.unreachable
        assert done.failed == 0
        assert states(database="blog_db", attempts=0, claim=None) == {"pending": 5}

    def test_a_database_lost_while_a_failure_is_narrowed_down_burns_no_attempt(
        self,
        tune: Tune,
        refuse: Callable[[str], Any],
        users: list[User],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        tune(probe_seconds=60)
        User.objects.all().delete()
        dispatch.sweep_all()
        lost = refuse("shop_db")
        form = type(backends.row_backend("shop_db"))
        plain, calls = form.delete_rows, []

        def lose(self: Any, *args: Any, using: str, **kwargs: Any) -> Any:
            if using == "shop_db":
                calls.append(using)
                if len(calls) == 1:
                    raise Poison("a failure of the whole claim")
                if len(calls) == 2:
                    lost.__enter__()
            return plain(self, *args, using=using, **kwargs)

        monkeypatch.setattr(form, "delete_rows", lose)
        try:
            done = cascade.drain("shop_db")
        finally:
            lost.__exit__(None, None, None)
        assert len(calls) == 2
        assert done.unreachable
        assert states(database="shop_db", attempts=0, claim=None) == {"pending": 5}

    def test_a_server_that_is_stopped_and_started_again(
        self, tune: Tune, sandbox: Sandbox, converge: Converge, users: list[User]
    ) -> None:
        tune(probe_seconds=0.2)
        assert Order.objects.count() == 5  # over a connection that the stop then breaks
        with sandbox.postgres["shop_db"].stopped():
            User.objects.filter(pk__in=[each.pk for each in users[:3]]).delete()
            dispatch.sweep_all()
            assert cascade.drain("shop_db").unreachable
            assert cascade.drain("blog_db").rows == {"blog.Post.author": 3}
            assert states(database="shop_db", attempts=0) == {"pending": 3}
        connections["test_right"].close()
        ChildDatabase.objects.update(probe_at=timezone.now())
        assert converge() == {"shop.Order.customer": 3}
        assert Order.objects.count() == 2

    def test_a_frozen_log_costs_one_time_limit_and_then_the_others_go_on(
        self, sandbox: Sandbox, users: list[User], sample_options: Callable[[str], Any]
    ) -> None:
        User.objects.all().delete()
        dispatch.sweep_all()
        server = sandbox.postgres["blog_db"]
        with sample_options("test_left"):
            assert not Deletion.objects.using("test_left").exists()  # over a connection that stays
            server.freeze()
            try:
                with time_limit(1), pytest.raises(TimeLimit):
                    cascade.drain("shop_db", interruptions=(TimeLimit,))
                started = time.monotonic()
                with time_limit(20):
                    done = cascade.drain("shop_db", interruptions=(TimeLimit,))
                took = time.monotonic() - started
            finally:
                server.thaw()
        assert done.rows == {"shop.Order.customer": 5}
        assert took < 10

    def test_one_that_freezes_within_a_transaction_is_given_up_at_the_time_limit(
        self, tune: Tune, sandbox: Sandbox, converge: Converge, users: list[User]
    ) -> None:
        tune(probe_seconds=0.1)
        User.objects.all().delete()
        dispatch.sweep_all()
        server = sandbox.postgres["shop_db"]
        assert Order.objects.count() == 5

        def freeze_within(execute: Any, sql: str, *rest: Any) -> Any:
            if sql.lstrip().upper().startswith(("DELETE", "WITH")):
                server.freeze()
            return execute(sql, *rest)

        started = time.monotonic()
        try:
            with time_limit(1), connections["shop_db"].execute_wrapper(freeze_within):
                done = cascade.drain("shop_db", interruptions=(TimeLimit,))
        finally:
            server.thaw()
        assert time.monotonic() - started < 30  # a rollback would wait for good
        assert "no answer within the time limit" in done.unreachable
        assert states(database="shop_db", attempts=0, claim=None) == {"pending": 5}
        ChildDatabase.objects.update(probe_at=timezone.now())
        assert converge() == {"blog.Post.author": 5, "shop.Order.customer": 5}


class TestVerification:
    """G11: a probe that cannot be made shows where every failure shows."""

    def test_what_cannot_be_verified_goes_back_to_work_and_waits_there_with_the_reason(
        self, converge: Converge
    ) -> None:
        roots(3)
        Root.objects.all().delete()
        converge()
        all_due()
        with without_table("test_left", "left_shelf"):
            assert eventually(lambda: verification.verify("test_left").reopened == 3, timeout=30)
            assert states(database="test_left") == {"pending": 3}
            cascade.drain("test_left")
            waiting = Cascade.objects.filter(database="test_left", state="waiting")
            assert states(database="test_left") == {"waiting": 3}
            assert all("left_shelf" in each.reason for each in waiting)
        all_due()
        converge()
        all_due()
        assert eventually(lambda: verification.verify("test_left").verified == 3, timeout=30)


class TestALogThatCannotBeReached:
    """A child's database that has children elsewhere holds a log of its own."""

    @pytest.fixture
    def user(self) -> User:
        user = User.objects.create(username="ann")
        Order.objects.create(order_number="1", customer=user, total=1)
        return user

    def test_the_other_logs_are_swept(self, refuse: Callable[[str], Any], user: User) -> None:
        user.delete()
        with refuse("test_left"):
            number, due = dispatch.sweep_all()
        assert (number, due) == (1, {"blog_db", "shop_db"})

    def test_cascades_of_the_other_logs_go_on(
        self, refuse: Callable[[str], Any], user: User
    ) -> None:
        user.delete()
        dispatch.sweep("default")
        with refuse("test_left"):
            done = cascade.drain("shop_db")
        assert (done.rows, done.unreachable) == ({"shop.Order.customer": 1}, "")

    def test_the_figures_of_the_other_logs_are_shown(
        self, refuse: Callable[[str], Any], user: User
    ) -> None:
        user.delete()
        with refuse("test_left"):
            rows = {row["database"]: row for row in status.collect_status()["databases"]}
        assert rows["shop_db"]["backlog"] == 1


@contextmanager
def without_table(alias: str, name: str) -> Iterator[None]:
    """As before a migration that is still to come."""
    with connections[alias].cursor() as cursor:
        cursor.execute(f"ALTER TABLE {name} RENAME TO set_aside")
        try:
            yield
        finally:
            cursor.execute(f"ALTER TABLE set_aside RENAME TO {name}")


class TimeLimit(Exception):
    """As Celery's soft time limit: raised by a signal, wherever the process waits."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    def interrupt(*_: object) -> None:
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds, 10)  # and again, should it go on waiting
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def kill(alias: str, pid: int) -> None:
    """End a session as an administrator or a failover does, from a session of its own."""
    other = connections[alias].copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    finally:
        other.close()
