"""One hop: the delete's process notifies child databases, and whoever is first dispatches."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import connections, transaction

from apps.blog.models import Post
from apps.integrity import failpoints
from apps.integrity.capture import triggers
from apps.integrity.cascade import first_look
from apps.integrity.exceptions import DatabaseUnreachable
from apps.integrity.failpoints import Failpoint
from apps.integrity.log import deletions
from apps.integrity.models import Cascade, Deletion
from apps.integrity.models.moments import ServerNow
from apps.integrity.queues import celery, notifier
from apps.integrity.queues.celery_worker.steps import SWEEP_FIRST_SECONDS, SWEEP_SECONDS
from apps.shop.models import Order
from sandbox import project
from sandbox.environment import WORKER, as_role
from sandbox.processes import eventually
from tests.acceptance import workers
from tests.integration.queues.test_tasks import CASCADE, empty_queues, run, taken, users
from tests.kinds.left.models import Book
from tests.kinds.parents.models import Library
from tests.kinds.right.models import BookNote
from tests.log_rows import states

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed", "empty_queues")
__all__ = ["empty_queues"]

BLOG, SHOP, CONTROL = "integrity.blog_db", "integrity.shop_db", "integrity"
TO_BLOG, TO_SHOP = (CASCADE, ["blog_db"], {}), (CASCADE, ["shop_db"], {})
SOON = 30


@pytest.fixture
def woken(tune: Tune) -> None:
    """The site notifies; its pause after the test before is over."""
    tune(wakeups=True)
    time.sleep(2 * notifier.REST_SECONDS)


@pytest.fixture(params=["signal", "trigger", "both"])
def captured_by(request: pytest.FixtureRequest, tune: Tune) -> Iterator[str]:
    """What records the deletions of users."""
    if connections["default"].vendor != "postgresql":
        if request.param != "signal":
            pytest.skip("about what only PostgreSQL has")
        tune(wakeups=True)
        yield request.param
        return
    tune(wakeups=True, capture={"auth.User": request.param})
    triggers.install("default")
    yield request.param
    tune(capture="signal")
    triggers.install("default")


class Paused:
    """A thread that stands still at a place, until it is released."""

    def __init__(self) -> None:
        self.there, self.go = threading.Event(), threading.Event()

    def __call__(self) -> None:
        if not self.there.is_set():
            self.there.set()
            assert self.go.wait(SOON)


def beside(act: Any, *args: Any) -> threading.Thread:
    """Another session at work."""

    def work() -> None:
        try:
            act(*args)
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.fixture
def dispatcher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Paused]:
    """The first one that dispatches stands still before its commit: it has locked deletions."""
    paused, dispatch = Paused(), deletions.dispatch

    def held(*, using: str, limit: int) -> tuple[int, frozenset[str]]:
        with transaction.atomic(using=using):
            made = dispatch(using=using, limit=limit)
            paused()
        return made

    monkeypatch.setattr(deletions, "dispatch", held)
    yield paused
    paused.go.set()


@pytest.mark.usefixtures("woken")
class TestNotified:
    @pytest.mark.parametrize("how", ["instance", "queryset"])
    def test_a_delete_notifies_its_child_databases_and_one_message_removes_the_rows(
        self, captured_by: str, how: str
    ) -> None:
        gone, kept = users(2)
        if how == "instance":
            gone.delete()
        else:
            User.objects.exclude(pk=kept.pk).delete()
        assert Deletion.objects.get().source == {"both": "trigger"}.get(captured_by, captured_by)
        assert eventually(lambda: taken(BLOG) == [TO_BLOG], timeout=SOON)
        assert taken(CONTROL) == []
        run(celery.cascade_into, "blog_db")
        assert Post.objects.count() == 1

    def test_a_rolled_back_delete_notifies_nobody(self, captured_by: str) -> None:
        with transaction.atomic():
            users(1)[0].delete()
            transaction.set_rollback(True)
        time.sleep(0.2)
        assert [taken(queue) for queue in (BLOG, SHOP, CONTROL)] == [[], [], []]
        assert not Deletion.objects.exists()

    def test_a_burst_is_merged_into_four_messages_a_second(self) -> None:
        made, ends, number = users(3_000), time.monotonic() + 2.0, 0
        for user in made:
            user.delete()
            number += 1
            if time.monotonic() > ends:
                break
        time.sleep(1.0)
        messages = [*taken(BLOG), *taken(SHOP)]
        assert taken(CONTROL) == []
        # Two at once, and for some three seconds four in each.
        assert 2 < len(messages) <= 2 + 4 * 4 < number

    def test_many_child_databases_are_notified_by_the_control_queue(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(notifier, "DIRECT_MAX", 1)
        users(1)[0].delete()
        assert eventually(
            lambda: taken(CONTROL) == [("integrity.dispatch", ["default"], {})], timeout=SOON
        )
        assert [taken(BLOG), taken(SHOP)] == [[], []]
        run(celery.dispatch_deletions, "default")
        assert [taken(BLOG), taken(SHOP)] == [[TO_BLOG], [TO_SHOP]]


class TestManyDatabases:
    """Two are many here. The worker of the control queue looks at all of them at once."""

    @pytest.fixture(autouse=True)
    def _few_are_many(
        self, committed: None, empty_queues: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        users(1)[0].delete()
        for database in ("blog_db", "shop_db"):  # they know their parents from then on
            run(celery.cascade_into, database)
        Cascade.objects.all().delete()
        Deletion.objects.all().delete()
        for queue in (BLOG, SHOP, CONTROL):
            taken(queue)
        monkeypatch.setattr(first_look, "DATABASES_MIN", 2)

    def test_only_those_with_rows_are_notified(self) -> None:
        user = users(1)[0]
        Order.objects.all().delete()
        user.delete()
        run(celery.dispatch_deletions, "default")
        assert [taken(BLOG), taken(SHOP), taken(CONTROL)] == [[TO_BLOG], [], []]
        assert Cascade.objects.get(database="shop_db").state == "done"

    def test_a_worker_of_one_leaves_the_others_to_the_control_queue(self) -> None:
        users(1)[0].delete()
        run(celery.cascade_into, "blog_db")
        assert not Post.objects.exists()
        assert [taken(BLOG), taken(SHOP)] == [[], []]
        assert taken(CONTROL) == [("integrity.dispatch", ["default"], {})]
        run(celery.dispatch_deletions, "default")
        assert taken(SHOP) == [TO_SHOP]

    def test_maintenance_verifies_by_a_look_what_is_without_rows(
        self, tune: Tune, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tune(grace_seconds=0.001)
        monkeypatch.setattr(first_look, "DATABASES_MIN", 1)  # one of the two is without rows
        user = users(1)[0]
        Order.objects.all().delete()
        user.delete()
        run(celery.dispatch_deletions, "default")
        run(celery.cascade_into, "blog_db")
        for queue in (BLOG, SHOP, CONTROL):
            taken(queue)
        Cascade.objects.filter(state="done").update(due_at=ServerNow())
        run(celery.maintain)
        assert taken(BLOG) == [("integrity.verify", ["blog_db"], {})]
        assert Cascade.objects.get(database="shop_db").state == "verified"
        assert Cascade.objects.get(database="blog_db").state == "done"


class TestWhoeverDispatches:
    def test_it_notifies_the_other_databases_and_not_its_own(self) -> None:
        users(1)[0].delete()
        run(celery.cascade_into, "blog_db")
        assert not Post.objects.exists()
        assert [taken(BLOG), taken(SHOP), taken(CONTROL)] == [[], [TO_SHOP], []]
        run(celery.cascade_into, "shop_db")
        assert not Order.objects.exists()
        assert [taken(BLOG), taken(SHOP), taken(CONTROL)] == [[], [], []]

    def test_who_comes_while_another_dispatches_is_notified_after_the_commit(
        self, dispatcher: Paused
    ) -> None:
        """The trap: it finds the deletion locked, and no cascade; and it goes home."""
        users(1)[0].delete()
        blog = beside(run, celery.cascade_into, "blog_db")
        assert dispatcher.there.wait(SOON)
        run(celery.cascade_into, "shop_db")
        assert (Cascade.objects.count(), Order.objects.count()) == (0, 1)
        assert taken(SHOP) == []
        dispatcher.go.set()
        blog.join(SOON)
        assert not Post.objects.exists()
        assert taken(SHOP) == [TO_SHOP]
        run(celery.cascade_into, "shop_db")
        assert not Order.objects.exists()

    def test_the_others_do_not_wait_for_its_own_work(self, monkeypatch: pytest.MonkeyPatch) -> None:
        claimed = Paused()
        monkeypatch.setattr(
            failpoints, "hit", lambda phase: claimed() if phase is Failpoint.CLAIMED else None
        )
        users(1)[0].delete()
        blog = beside(run, celery.cascade_into, "blog_db")
        assert claimed.there.wait(SOON)
        assert eventually(lambda: taken(SHOP) == [TO_SHOP], timeout=SOON)
        assert Post.objects.exists()
        claimed.go.set()
        blog.join(SOON)
        assert not Post.objects.exists()

    def test_its_own_work_goes_first_and_the_others_wait_no_longer_than_it_takes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(celery, "HEAD_START_SECONDS", 10 * SOON)
        left = list[int]()
        publish = celery._publish

        def noted(*message: Any) -> None:
            left.append(Post.objects.count())
            publish(*message)
            connections.close_all()  # those of this thread

        monkeypatch.setattr(celery, "_publish", noted)
        users(1)[0].delete()
        blog = beside(run, celery.cascade_into, "blog_db")
        blog.join(SOON)
        assert left == [0]
        assert taken(SHOP) == [TO_SHOP]

    def test_more_than_a_claim_is_left_to_the_control_queue(self, tune: Tune) -> None:
        tune(claim_keys=2)
        users(5)
        User.objects.all().delete()
        run(celery.cascade_into, "blog_db")
        assert [one.state for one in Deletion.objects.order_by("pk")].count("recorded") == 3
        assert Post.objects.count() == 3
        assert taken(CONTROL) == [("integrity.dispatch", ["default"], {})]
        run(celery.dispatch_deletions, "default")
        run(celery.cascade_into, "blog_db")
        assert not Post.objects.exists()

    def test_one_that_dies_before_it_notifies_leaves_the_others_to_beat(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Died(BaseException):
            pass

        def die(phase: Failpoint) -> None:
            if phase is Failpoint.DISPATCHED:
                raise Died

        users(1)[0].delete()
        with monkeypatch.context() as patch:
            patch.setattr(failpoints, "hit", die)
            with pytest.raises(Died):
                celery.cascade_into.run("blog_db")
        assert [taken(BLOG), taken(SHOP)] == [[], []]
        run(celery.dispatch_deletions)  # beat's tick
        assert [taken(BLOG), taken(SHOP)] == [[TO_BLOG], [TO_SHOP]]

    def test_messages_that_come_twice_change_nothing(self) -> None:
        gone, _ = users(2)
        gone.delete()
        for _ in range(3):
            run(celery.cascade_into, "blog_db")
            run(celery.cascade_into, "shop_db")
        assert (Post.objects.count(), Order.objects.count()) == (1, 1)
        assert Cascade.objects.count() == 2
        assert Cascade.objects.get(database="blog_db").rows

    def test_a_broker_that_is_gone_does_not_hold_up_its_own_work(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(*_: Any) -> None:
            raise ConnectionError("refused")

        users(1)[0].delete()
        with monkeypatch.context() as patch:
            patch.setattr(celery, "_publish", fail)
            run(celery.cascade_into, "blog_db")
        assert not Post.objects.exists()
        assert "beat finds the work" in caplog.text
        run(celery.dispatch_deletions)  # beat's tick
        assert taken(SHOP) == [TO_SHOP]

    def test_a_log_that_fails_holds_up_neither_the_others_nor_the_work(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        reach = celery.reach

        def away(using: str, **options: bool) -> None:
            if using == "default":
                raise DatabaseUnreachable(using, OSError("refused"))
            reach(using, **options)

        monkeypatch.setattr(celery, "reach", away)
        users(1)[0].delete()
        with caplog.at_level(logging.WARNING):
            run(celery.cascade_into, "blog_db")
        assert "default cannot be reached: refused" in caplog.text
        assert Deletion.objects.get().state == "recorded"

    def test_parents_of_two_databases(self) -> None:
        """A log in each: what a cascade deletes is a parent for the next database."""
        library = Library.objects.create()
        BookNote.objects.create(book=Book.objects.create(library=library))
        library.delete()
        run(celery.cascade_into, "test_left")
        assert not Book.objects.exists()
        run(celery.cascade_into, "test_right")
        assert not BookNote.objects.exists()


@pytest.mark.usefixtures("woken")
def test_two_workers_without_beat_and_control_queue_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each database has its worker. Most deletes make them dispatch at the same moment."""
    monkeypatch.setattr(notifier, "REST_SECONDS", 0.0)
    workers.granted()
    env = as_role(WORKER, {**workers.environment(), "TMPDIR": str(tmp_path)})
    pair = [
        project.process(
            tmp_path,
            f"{name}",
            *project.worker(f"{name}@%h", f"integrity.{name}", "--concurrency=1"),
            env=env,
            cwd=tmp_path,
        )
        for name in ("blog_db", "shop_db")
    ]
    made = users(21)
    try:
        for worker in pair:
            worker.start()
        made.pop().delete()
        assert eventually(lambda: states() == ["cascaded"], timeout=60), [w.tail() for w in pair]
        time.sleep(SWEEP_FIRST_SECONDS + 1.0)
        for user in made:
            user.delete()
            assert eventually(lambda: set(states()) == {"cascaded"}, timeout=SWEEP_SECONDS / 3)
    finally:
        for worker in pair:
            worker.stop()
    assert (Post.objects.count(), Order.objects.count()) == (0, 0)
