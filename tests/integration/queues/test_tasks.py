"""The tasks, on a real broker: what each does, whom it wakes, and that a message names no row."""

from __future__ import annotations

import inspect
import socket
import time
from collections import Counter
from queue import Empty
from typing import TYPE_CHECKING, Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.contrib.auth.models import User
from django.db import connections
from django.utils import timezone

from apps.blog.models import Post
from apps.integrity import capture, relations
from apps.integrity.exceptions import TaskFailed, UnknownName
from apps.integrity.log import claims
from apps.integrity.models import Cascade, ChildDatabase, Deletion, Heartbeat, Scan, Suspect
from apps.integrity.queues import celery, dispatch
from apps.shop.models import Order
from sandbox.processes import eventually
from tests.log_rows import make, states
from workers.celery import app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Tune

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed", "empty_queues")

QUEUES = ("integrity", "integrity.blog_db", "integrity.shop_db")
LOGS = ("default", "test_left", "test_lite")
CASCADE, VERIFY = "integrity.cascade", "integrity.verify"


def taken(queue: str) -> list[tuple[str, Any, Any]]:
    """Task, arguments and keyword arguments of the messages on a queue, which are gone then."""
    found = []
    with app.connection_for_write() as connection:
        messages = connection.SimpleQueue(app.amqp.queues[queue], no_ack=True)
        try:
            while True:
                message = messages.get_nowait()
                args, kwargs, _ = message.payload
                found.append((message.headers["task"], args, kwargs))
        except Empty:
            return found
        finally:
            messages.close()


@pytest.fixture
def empty_queues() -> Iterator[None]:
    for queue in QUEUES:
        taken(queue)
    yield
    for queue in QUEUES:
        taken(queue)


@pytest.fixture
def few_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery, "NOTIFICATIONS_MAX", 2)
    monkeypatch.setattr(celery, "MESSAGES_MAX", 4)


def run(task: Any, *args: Any) -> None:
    """As a worker would, in this process; raises what the task raises."""
    task.apply(args=args, throw=True)


def users(number: int) -> list[User]:
    """Users with a post and an order each."""
    made = User.objects.bulk_create(User(username=f"{n}") for n in range(number))
    Post.objects.bulk_create(Post(title="t", content="c", author=each) for each in made)
    Order.objects.bulk_create(
        Order(order_number=f"{each.pk}", customer=each, total=1) for each in made
    )
    return made


def all_due() -> None:
    Cascade.objects.update(due_at=timezone.now())


class TestDispatch:
    def test_it_wakes_each_child_database_that_has_work(self) -> None:
        users(2)[0].delete()
        run(celery.dispatch_deletions, "default")
        assert Deletion.objects.get().state == "dispatched"
        assert taken("integrity.blog_db") == [(CASCADE, ["blog_db"], {})]
        assert taken("integrity.shop_db") == [(CASCADE, ["shop_db"], {})]
        assert taken("integrity") == []

    def test_a_burst_wakes_a_worker_for_each_claim(self, tune: Tune) -> None:
        tune(claim_keys=2)
        users(5)
        User.objects.all().delete()
        run(celery.dispatch_deletions, "default")
        assert len(taken("integrity.blog_db")) == len(taken("integrity.shop_db")) == 3

    def test_it_wakes_for_work_that_an_earlier_message_was_lost_for(self) -> None:
        users(1)[0].delete()
        dispatch.sweep("default")
        run(celery.dispatch_deletions, "default")
        assert taken("integrity.shop_db") == [(CASCADE, ["shop_db"], {})]

    @pytest.mark.usefixtures("few_messages")
    def test_messages_that_nobody_takes_are_not_piled_up(self) -> None:
        users(1)[0].delete()
        for _ in range(2 * celery.NOTIFICATIONS_MAX):
            run(celery.dispatch_deletions, "default")
        everywhere = [(CASCADE, [alias], {}) for alias in ("blog_db", "shop_db")]
        assert taken("integrity.blog_db") == everywhere[:1] * celery.NOTIFICATIONS_MAX
        run(celery.dispatch_deletions, "default")
        assert taken("integrity.blog_db") == everywhere[:1]
        assert taken("integrity.shop_db") == everywhere[1:] * celery.NOTIFICATIONS_MAX

    def test_a_full_queue_has_room_for_verification(
        self, few_messages: None, converge: Converge
    ) -> None:
        users(1)[0].delete()
        converge()
        all_due()
        for _ in range(2 * celery.NOTIFICATIONS_MAX):
            celery.publish_cascade("shop_db")
        for _ in range(2 * celery.MESSAGES_MAX):
            run(celery.maintain)
        found = Counter(task for task, _, _ in taken("integrity.shop_db"))
        assert found == {
            CASCADE: celery.NOTIFICATIONS_MAX,
            VERIFY: celery.MESSAGES_MAX - celery.NOTIFICATIONS_MAX,
        }

    def test_it_wakes_nobody_for_nothing(self) -> None:
        run(celery.dispatch_deletions)
        assert [taken(queue) for queue in QUEUES] == [[], [], []]

    def test_without_a_log_it_tends_each_and_shows_itself_there(self) -> None:
        run(celery.dispatch_deletions)
        assert sorted(relations.catalogue().log_databases) == sorted(LOGS)
        for using in LOGS:  # itself, and the tick of beat
            assert Heartbeat.objects.using(using).filter(name="beat").exists()
            assert Heartbeat.objects.using(using).count() == 2


class TestCascade:
    def test_it_removes_what_is_due_in_its_database_and_shows_itself(self) -> None:
        gone, kept = users(2)
        gone.delete()
        dispatch.sweep("default")
        run(celery.cascade_into, "shop_db")
        assert Order.objects.get().customer == kept
        assert Post.objects.count() == 2
        assert [Heartbeat.objects.using(using).count() for using in LOGS] == [1, 1, 1]
        assert [taken(queue) for queue in QUEUES] == [[], [], []]

    def test_it_hands_over_to_the_next_message_when_its_time_is_up(self, tune: Tune) -> None:
        tune(run_seconds=0.000_001, claim_keys=1)
        users(3)
        User.objects.all().delete()
        dispatch.sweep("default")
        run(celery.cascade_into, "shop_db")
        assert Order.objects.exists()
        assert taken("integrity.shop_db") == [(CASCADE, ["shop_db"], {})]
        assert taken("integrity.blog_db") == []

    @pytest.mark.parametrize("redelivered", [True, False])
    def test_a_message_that_comes_again_takes_over_what_its_dead_process_held(
        self, *, redelivered: bool
    ) -> None:
        users(1)[0].delete()
        dispatch.sweep("default")
        held = claims.claim("shop_db", using="default", limit=9, lease_seconds=60, owner="the task")
        assert held is not None
        celery.cascade_into.push_request(id="the task", delivery_info={"redelivered": redelivered})
        try:
            celery.cascade_into.run("shop_db")
        finally:
            celery.cascade_into.pop_request()
        assert Order.objects.exists() is not redelivered

    def test_the_time_limit_burns_no_attempt_and_is_told(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        users(2)
        User.objects.all().delete()
        dispatch.sweep("default")
        with limited("shop_db"):
            run(celery.cascade_into, "shop_db")
        found = Cascade.objects.filter(database="shop_db")
        assert set(found.values_list("state", "attempts", "claim")) == {("pending", 0, None)}
        assert "work on shop_db met the time limit" in caplog.text
        # It answers: it is slow, and not away. The next step takes on less.
        assert not ChildDatabase.objects.exclude(unreachable_since=None).exists()
        assert ChildDatabase.objects.get().step_rows
        assert Order.objects.count() == 2


class TestVerify:
    def test_rows_that_came_late_wake_their_database_again(self, converge: Converge) -> None:
        user = users(1)[0]
        key = user.pk
        user.delete()
        converge()
        all_due()
        Order.objects.create(order_number="late", customer_id=key, total=1)
        assert eventually(
            lambda: woken_by_verification() == [(CASCADE, ["shop_db"], {})], timeout=30
        )
        assert converge() == {"shop.Order.customer": 1}

    def test_a_proof_wakes_nobody(self, converge: Converge) -> None:
        users(1)[0].delete()
        converge()
        all_due()

        def verified() -> bool:
            assert woken_by_verification() == []
            return Cascade.objects.filter(database="shop_db", state="verified").exists()

        assert eventually(verified, timeout=30)

    def test_it_hands_over_when_its_time_is_up(self, tune: Tune, converge: Converge) -> None:
        tune(run_seconds=0.000_001, claim_keys=1)
        users(3)
        User.objects.all().delete()
        converge()
        all_due()
        assert eventually(
            lambda: woken_by_verification() == [(VERIFY, ["shop_db"], {})], timeout=30
        )

    def test_the_time_limit_is_told_and_proves_nothing(
        self, converge: Converge, caplog: pytest.LogCaptureFixture
    ) -> None:
        users(1)[0].delete()
        converge()
        all_due()
        with limited("shop_db"):
            run(celery.verify_in, "shop_db")
        assert "work on shop_db met the time limit" in caplog.text
        assert not ChildDatabase.objects.exists()  # it answers: slow, and not away
        assert Cascade.objects.get(database="shop_db").state == "done"


class TestMaintain:
    def test_it_shows_that_beat_is_alive_in_each_log(self) -> None:
        run(celery.maintain)
        for using in LOGS:
            assert [each.name for each in Heartbeat.objects.using(using).all()] == ["beat"]

    def test_it_wakes_verification_where_something_is_done(self, converge: Converge) -> None:
        """Due or not: verification also compares the database with its log."""
        users(1)[0].delete()
        run(celery.maintain)
        assert [taken(queue) for queue in QUEUES] == [[], [], []]
        converge()
        Cascade.objects.filter(database="blog_db").update(done_at=None)
        run(celery.maintain)
        assert taken("integrity.shop_db") == [(VERIFY, ["shop_db"], {})]
        assert taken("integrity.blog_db") == []

    def test_it_purges_each_log(self, tune: Tune) -> None:
        tune(retention_days=0.000_001)
        for using in LOGS:
            make("x.A", [1], ["x"], state="verified", using=using)
            Deletion.objects.using(using).create(
                parent="x.A", key="2", cancelled_at=timezone.now(), reason="nothing to do"
            )

        def purged() -> bool:
            run(celery.maintain)
            return not any(
                model.objects.using(using).exists()
                for using in LOGS
                for model in (Deletion, Cascade)
            )

        assert eventually(purged, timeout=30)

    @pytest.mark.parametrize("policy", ["report", "repair"])
    def test_orphans_are_repaired_where_the_settings_say_so(self, tune: Tune, policy: str) -> None:
        tune(scan_policy=policy, grace_seconds=0.001)
        _, gone = users(2)
        User.objects.filter(pk=gone.pk)._raw_delete("default")
        run(celery.scan_for_orphans, "shop_db")
        assert (Suspect.objects.count(), Deletion.objects.count()) == (1, 0)

        def looked_again() -> bool:
            run(celery.maintain)
            return states() == ["recorded"] and not Suspect.objects.exists()

        if policy == "repair":
            assert eventually(looked_again, timeout=30)
        else:
            assert not any(looked_again() for _ in range(3))
        assert Order.objects.count() == 2


class TestScan:
    def test_it_notes_what_has_no_parent_and_touches_no_row(self) -> None:
        _, gone = users(2)
        gone_key = gone.pk
        User.objects.filter(pk=gone.pk)._raw_delete("default")
        run(celery.scan_for_orphans, "shop_db")
        assert list(Suspect.objects.values_list("parent", "relation", "value")) == [
            ("auth.User", "shop.Order.customer", str(gone_key))
        ]
        assert not Deletion.objects.exists()
        assert Order.objects.count() == 2

    def test_the_time_limit_is_told_and_the_scan_given_back(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        users(1)
        with limited("shop_db"):
            run(celery.scan_for_orphans, "shop_db")
        assert "work on shop_db met the time limit" in caplog.text
        assert not ChildDatabase.objects.exists()  # it answers: slow, and not away
        assert list(Scan.objects.values_list("claim", "reason")) == [(None, "interrupted")]


class TestMessages:
    """I12: a message is no authority over any row."""

    def test_tasks_take_an_alias_and_nothing_else(self) -> None:
        ours = {name: task for name, task in app.tasks.items() if name.startswith("integrity.")}
        assert len(ours) >= 4
        for task in ours.values():
            parameters = inspect.signature(task.run).parameters.values()
            assert {each.name for each in parameters} <= {"database", "using"}
            assert {each.kind for each in parameters} <= {inspect.Parameter.POSITIONAL_OR_KEYWORD}

    @pytest.mark.parametrize(
        ("task", "arguments", "error"),
        [
            (celery.cascade_into, ("shop_db", [1]), TaskFailed),
            (celery.cascade_into, ("default",), UnknownName),
            (celery.cascade_into, (1,), UnknownName),
            (celery.verify_in, ("nope",), UnknownName),
            (celery.scan_for_orphans, ("nope",), UnknownName),
            (celery.dispatch_deletions, ("nope",), UnknownName),
            (celery.dispatch_deletions, ("blog_db",), UnknownName),
            (celery.maintain, ("default",), TaskFailed),
        ],
    )
    def test_a_forged_message_is_refused_and_touches_nothing(
        self, task: Any, arguments: tuple[Any, ...], error: type[Exception]
    ) -> None:
        users(2)
        with pytest.raises(error):
            run(task, *arguments)
        assert (Order.objects.count(), Post.objects.count()) == (2, 2)

    @pytest.mark.parametrize("task", [celery.cascade_into, celery.dispatch_deletions])
    def test_a_database_that_is_not_there_is_one_line(
        self, task: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        task.apply(args=("nope",))
        [told] = [each for each in caplog.records if each.levelname != "INFO"]
        assert (told.levelname, told.exc_info) == ("WARNING", None)
        assert "'nope'; known: " in told.getMessage()
        assert not any(each.exc_info for each in caplog.records)

    def test_a_message_for_what_nobody_deleted_touches_nothing(self) -> None:
        users(2)
        for database in ("blog_db", "shop_db"):
            run(celery.cascade_into, database)
        assert (Order.objects.count(), Post.objects.count()) == (2, 2)


class TestPublish:
    """G5: Note [Bounded publishing]."""

    @pytest.fixture
    def silent(self) -> Iterator[None]:
        """A broker that accepts connections and never says a word."""
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            pytest.MonkeyPatch.context() as patch,
        ):
            url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
            patch.setenv("CELERY_BROKER_WRITE_URL", url)
            yield

    def test_a_silent_broker_is_given_up_however_patient_a_worker_is(
        self, silent: None, tune: Tune, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tune(wakeup_timeout_seconds=0.2)
        for name in ("socket_timeout", "socket_connect_timeout"):
            monkeypatch.setitem(app.conf.broker_transport_options, name, 60)
        started = time.monotonic()
        with pytest.raises(Exception, match=r"(?i)time"):
            celery.publish_dispatch("default")
        assert time.monotonic() - started < 20

    def test_it_goes_to_the_queue_of_its_task(self) -> None:
        celery.publish_dispatch("default")
        celery.publish_cascade("blog_db")
        assert taken("integrity") == [("integrity.dispatch", ["default"], {})]
        assert taken("integrity.blog_db") == [(CASCADE, ["blog_db"], {})]


def test_a_delete_needs_no_task_to_be_recorded() -> None:
    capture.record((User, [1]), using="default")
    assert Deletion.objects.get().state == "recorded"
    assert [taken(queue) for queue in QUEUES] == [[], [], []]


def woken_by_verification() -> list[tuple[str, Any, Any]]:
    run(celery.verify_in, "shop_db")
    return taken("integrity.shop_db")


def limited(alias: str) -> Any:
    """A block in which the time limit strikes at the first question about rows."""

    def strike(execute: Any, sql: str, *rest: Any) -> Any:
        if "shop_order" in sql:
            raise SoftTimeLimitExceeded
        return execute(sql, *rest)

    return connections[alias].execute_wrapper(strike)
