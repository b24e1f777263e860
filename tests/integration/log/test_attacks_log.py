"""Attacks on the deletion log: who settles, reopens, dispatches or purges at the same moment."""

from __future__ import annotations

import datetime as dt
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import DataError, connections, transaction
from django.utils import timezone

from apps.integrity import capture, cascade
from apps.integrity.backends import log_backend
from apps.integrity.backends.barriers import Barrier
from apps.integrity.log import claims, deletions, outcomes, proofs, tables, values
from apps.integrity.log.kept import reopen_kept
from apps.integrity.log.parts import separate
from apps.integrity.models import Cascade, Deletion
from apps.integrity.queues import dispatch
from tests.kinds.parents.models import Guarded, Owner
from tests.log_rows import cascade_of, check_partitions, in_database, make, states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.db.models import QuerySet

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

DATABASES = ("blog_db", "shop_db")
PAST = timezone.now() - dt.timedelta(hours=1)


def dispatched(*keys: int) -> None:
    capture.record((User, keys), using="default")
    dispatch.sweep("default")


def claimed(database: str) -> values.Claim:
    found = claims.claim(database, using="default", limit=100, lease_seconds=10)
    assert found is not None
    return found


def finish(claim: values.Claim) -> list[int]:
    return outcomes.finish(claim, {pk: {} for pk in claim.ids}, barrier=None)


def done(database: str) -> values.Claim:
    Cascade.objects.filter(state="done").update(due_at=timezone.now() - dt.timedelta(seconds=1))
    found = proofs.due_done(database, now=None, using="default", limit=100)
    assert found is not None
    return found


def state() -> str:
    return str(Deletion.objects.get().state)


def state_in(database: str) -> str:
    return str(Cascade.objects.get(database=database).state)


def cascades_in(database: str) -> QuerySet[Cascade]:
    return Cascade.objects.filter(database=database)


def elsewhere(act: Callable[[], object]) -> threading.Thread:
    """Begin it on connections of its own, as another process would."""

    def run() -> None:
        try:
            act()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@contextmanager
def at(
    number: int, wanted: Callable[[str], bool], act: Callable[[], object], *, after: bool
) -> Iterator[None]:
    """Let `act` happen before or after this thread's statement of that number and kind."""
    found: list[str] = []

    def interrupt(execute: Any, sql: str, *rest: Any) -> Any:
        now = wanted(sql)
        found.extend([sql] * now)
        if now and len(found) == number and not after:
            act()
        result = execute(sql, *rest)
        if now and len(found) == number and after:
            act()
        return result

    with connections["default"].execute_wrapper(interrupt):
        yield
    assert len(found) >= number, found


def locks_cascades(sql: str) -> bool:
    return "integrity_cascade" in sql and "FOR NO KEY UPDATE" in sql


def finishes(sql: str) -> bool:
    return sql.startswith("UPDATE integrity_cascade") and "state = 'done'" in sql


def moves_deletions(sql: str) -> bool:
    return sql.startswith("UPDATE") and "integrity_deletion" in sql


class TestState:
    """It follows from the cascades, so nobody can leave it behind."""

    def test_two_databases_that_are_verified_at_the_same_time(self) -> None:
        dispatched(1)
        for database in DATABASES:
            finish(claimed(database))
        blog, shop = (done(each) for each in DATABASES)

        def other() -> None:
            elsewhere(lambda: outcomes.verify(shop, shop.ids)).join()

        with at(1, locks_cascades, other, after=True):
            outcomes.verify(blog, blog.ids)
        assert state() == "verified"

    def test_reopened_while_another_database_finishes(self) -> None:
        dispatched(1)
        finish(claimed("blog_db"))
        probed = done("blog_db")
        shop = claimed("shop_db")

        def reopen() -> None:
            elsewhere(lambda: outcomes.reopen(probed, probed.ids, "late")).join()

        with at(1, finishes, reopen, after=False):
            finish(shop)
        assert state_in("blog_db") == "pending"
        assert state() == "dispatched"

    def test_of_a_cascade_that_is_split_while_it_is_finished_no_part_is_done(self) -> None:
        """Whoever splits it takes the claim away, and both parts go on."""
        dispatched(1, 2, 3)
        blog = claimed("blog_db")

        def split() -> None:
            with transaction.atomic():
                separate(cascades_in("blog_db"), blog.ids[:1], using="default", holder=False)

        with at(1, finishes, lambda: elsewhere(split).join(), after=False):
            assert finish(blog) == []
        check_partitions()
        assert [*cascades_in("blog_db").values_list("state", flat=True)] == ["pending"] * 2

    def test_of_a_claim_that_was_split_by_its_holder_each_part_is_finished(self) -> None:
        dispatched(1, 2, 3)
        blog = claimed("blog_db")
        first, *others = blog.ids
        assert finish(blog.only([first])) == [first]
        assert finish(blog) == others
        check_partitions()
        assert state_in("shop_db") == "pending"

    def test_as_the_databases_go_on(self) -> None:
        dispatched(1)
        finish(claimed("blog_db"))
        assert (state(), Deletion.objects.get().cascaded_at) == ("dispatched", None)
        finish(claimed("shop_db"))
        assert state() == "cascaded"
        assert Deletion.objects.get().cascaded_at is not None
        held = done("blog_db")
        outcomes.reopen(held, held.ids, "late")
        assert (state(), Deletion.objects.get().cascaded_at) == ("dispatched", None)


class TestReopening:
    def test_of_two_who_verify_only_the_first_one_decides(self) -> None:
        dispatched(1)
        for database in DATABASES:
            finish(claimed(database))
        late, first = done("blog_db"), done("blog_db")
        assert outcomes.verify(first, first.ids) == 1
        before = list(Cascade.objects.order_by("pk").values())
        assert outcomes.reopen(late, late.ids, "late") == 0
        assert outcomes.verify(late, late.ids) == 0
        assert list(Cascade.objects.order_by("pk").values()) == before
        assert (state_in("blog_db"), state()) == ("verified", "cascaded")

    @pytest.mark.parametrize("using", ["default", "test_lite"])
    def test_what_was_seen_before_it_was_done_again_proves_nothing(self, using: str) -> None:
        """The first probe saw no rows; another one did, and the cascade ran once more."""
        (one,) = make("auth.User", [1], ["blog_db"], state="done", using=using)
        Cascade.objects.using(using).update(due_at=PAST, done_at=PAST)

        def read() -> values.Claim:
            found = proofs.due_done("blog_db", now=None, using=using, limit=9)
            assert found is not None
            return found

        old, newer = read(), read()
        assert outcomes.reopen(newer, [one.pk], "rows came after the cascade") == 1
        again = claims.claim("blog_db", using=using, limit=9, lease_seconds=9)
        assert again is not None
        time.sleep(0.01)  # SQLite's clock has milliseconds
        assert outcomes.finish(again, {one.pk: {}}, barrier=None) == [one.pk]
        assert outcomes.verify(old, old.ids) == 0
        assert outcomes.reopen(old, old.ids, "late") == 0
        Cascade.objects.using(using).update(due_at=PAST)
        assert outcomes.verify(read(), [one.pk]) == 1

    @pytest.mark.parametrize("halved", [False, True])
    def test_a_probe_that_is_repeated_shortens_no_grace_period(self, halved: bool) -> None:  # noqa: FBT001
        """Another part of the batch was done later."""
        early, late = make("auth.User", (1, 2), ["blog_db"], state="done")
        future = timezone.now() + dt.timedelta(hours=1)
        named = tables.cascades("default").filter(batch=early.pk)
        with transaction.atomic():
            part, *_ = separate(named, [late.pk], using="default", holder=False)
        Cascade.objects.exclude(pk=part).update(due_at=PAST, done_at=PAST)
        Cascade.objects.filter(pk=part).update(due_at=future, done_at=PAST)
        held = proofs.due_done("blog_db", now=None, using="default", limit=9)
        assert held is not None
        assert held.ids == [early.pk]
        outcomes.delay(held, halved=halved)
        assert cascade_of(early, "blog_db").due_at > PAST
        assert Cascade.objects.values_list("due_at", "attempts").get(pk=part) == (future, 0)

    def test_a_probe_from_before_the_barrier_was_taken_anew_proves_nothing(self) -> None:
        """The child database moved to another server meanwhile."""
        (one,) = make("auth.User", [1], ["blog_db"], state="done", due_at=PAST, done_at=PAST)
        held = proofs.due_done("blog_db", now=None, using="default", limit=9)
        assert held is not None
        barrier = Barrier(number=7, server="another")
        cascades = list(proofs.due_barriers("blog_db", using="default", limit=9))
        assert proofs.renew_barriers("blog_db", cascades, barrier, using="default") == 1
        assert outcomes.verify(held, [one.pk]) == 0
        assert in_database(one, "blog_db").state == "done"

    def test_cascades_whose_deletions_are_missing_hold_up_no_others(self) -> None:
        """Somebody removed rows of the log by hand."""
        (lost,) = make("auth.User", [1], ["blog_db"], state="done")
        (other,) = make("auth.User", [2], ["blog_db"], state="done", relation="blog.Post.author")
        Cascade.objects.update(due_at=PAST, done_at=PAST)
        Deletion.objects.filter(pk=lost.pk).delete()
        held = done("blog_db")
        assert held.ids == [other.pk]
        assert outcomes.verify(held, [other.pk]) == 1
        assert proofs.due_done("blog_db", now=None, using="default", limit=100) is None
        assert Cascade.objects.get(batch=lost.pk).state == "done"

    def test_of_a_claim_that_was_lost_in_part_the_rest_is_reopened(self) -> None:
        one, two = make("auth.User", (1, 2), DATABASES, apart=True, state="done")
        held = done("blog_db")
        Cascade.objects.filter(pk=cascade_of(one, "blog_db").pk).update(claim=uuid4())
        assert outcomes.reopen(held, held.ids, "late") == 1
        assert states() == ["cascaded", "dispatched"]
        assert in_database(two, "blog_db").reason == "late"


class TestProgress:
    def test_whoever_lost_the_claim_keeps_no_rows_and_gives_nothing_back(self) -> None:
        one, two = make("auth.User", (1, 2), DATABASES)
        first = claimed("blog_db")
        Cascade.objects.update(due_at=timezone.now() - dt.timedelta(seconds=1))
        second = claimed("blog_db")
        outcomes.release(second, {one.pk: {"x": 7}}, reason="")
        outcomes.release(first.with_rows({one.pk: {"x": 1}, two.pk: {"x": 1}}))
        outcomes.release(first, {one.pk: {"x": 2}, two.pk: {"x": 2}}, reason="")
        outcomes.postpone(first.with_rows({one.pk: {"x": 3}, two.pk: {"x": 3}}), "late")
        found = [cascade_of(each, "blog_db") for each in (one, two)]
        assert [(row.state, row.claim, row.rows, row.reason) for row in found] == [
            ("pending", None, {str(one.pk): {"x": 7}}, ""),
            ("running", second.token, None, ""),
        ]

    def test_handed_back_by_half_and_counted_on(self) -> None:
        one, two = make("auth.User", (1, 2), DATABASES)
        held = claimed("blog_db")
        outcomes.finish(held, {one.pk: {"x": 1}}, barrier=None)
        outcomes.release(held.with_rows({one.pk: {"x": 9}, two.pk: {"x": 5}}))
        found = [in_database(each, "blog_db") for each in (one, two)]
        assert [(each.state, each.rows) for each in found] == [
            ("done", {"x": 1}),
            ("pending", {"x": 5}),
        ]
        (again,) = claimed("blog_db").deletions
        assert (again.id, again.rows) == (two.pk, {"x": 5})

    def test_who_finishes_while_it_is_taken_over_has_finished(self) -> None:
        """A live run whose message came again: the row that it marks has just been written."""
        dispatched(1)
        held = claims.claim("blog_db", using="default", limit=1, lease_seconds=10, owner="run")
        assert held is not None
        with transaction.atomic():
            assert claims.take_over("blog_db", owner="run", using="default") == 1
            other = elsewhere(lambda: outcomes.finish(held, {held.ids[0]: {"x": 5}}, barrier=None))
            other.join(0.3)
            assert other.is_alive()
        other.join()
        row = Cascade.objects.get(database="blog_db")
        assert (row.state, row.rows) == ("done", {str(held.ids[0]): {"x": 5}})


NAMED = ("auth.User", "")


def handed_out() -> int:
    return sum(Cascade.objects.values_list("size", flat=True))


def batch_of(*named: tuple[str, str]) -> int:
    """Make a batch of at most two deletions of the first of those names; return their number."""
    wanted = {names: ["blog_db"] for names in named}
    made = log_backend("default").dispatch_batch(wanted, 2, using="default")
    assert made is not None
    return sum(made.values())


@pytest.fixture
def in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dispatch as on an engine that has no single statement for it."""
    monkeypatch.setattr(type(log_backend("default")), "dispatch_batch", lambda *_, **__: None)


class TestDispatch:
    def test_a_batch_that_is_short_for_somebody_s_lock_leaves_the_rest_to_the_next(
        self, tune: Tune, locked: Any
    ) -> None:
        tune(dispatch_keys=4)
        capture.record((User, range(1, 11)), using="default")
        with locked(Deletion.objects.filter(key__in=["1", "5", "9"])):
            assert dispatch.sweep("default")[0] == 7
        assert dispatch.sweep("default")[0] == 3
        assert handed_out() == 20
        check_partitions()

    @pytest.mark.usefixtures("in_steps")
    def test_no_deletion_is_dispatched_without_its_cascades(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A dispatcher that dies as it makes them has dispatched nothing, or all of it."""
        capture.record((User, [1]), using="default")

        def die(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as broken:
            broken.setattr(Cascade, "__init__", die)
            with pytest.raises(KeyboardInterrupt):
                dispatch.sweep("default")
        assert Deletion.objects.get().state == "recorded"
        assert dispatch.sweep("default")[0] == 1
        assert Cascade.objects.count() == 2

    @pytest.mark.usefixtures("in_steps")
    def test_a_dispatcher_that_dies_in_its_batch_leaves_it_to_the_next(self, tune: Tune) -> None:
        tune(dispatch_keys=4)
        capture.record((User, range(1, 11)), using="default")

        class Death(BaseException):
            pass

        def die() -> None:
            raise Death

        with pytest.raises(Death), at(2, moves_deletions, die, after=True):
            dispatch.sweep("default")
        assert states().count("recorded") == 6
        assert handed_out() == 8
        assert dispatch.sweep("default")[0] == 6
        assert handed_out() == 20
        check_partitions()

    @pytest.mark.usefixtures("in_steps")
    @pytest.mark.parametrize("others", [1, 3, 4])
    def test_where_rows_cannot_be_locked_the_slower_one_has_dispatched_nothing(
        self, others: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Both have read the same deletions; the faster one commits its batch in between."""
        monkeypatch.setattr(tables, "locked", lambda rows, *_, **__: rows)
        capture.record((User, range(1, 5)), using="default")

        def faster() -> None:
            elsewhere(lambda: deletions.dispatch(using="default", limit=others)).join()

        with at(1, moves_deletions, faster, after=False):
            assert deletions.dispatch(using="default", limit=4) == (0, frozenset())
        assert states().count("recorded") == 4 - others
        check_partitions()
        assert deletions.dispatch(using="default", limit=4)[0] == 4 - others
        assert handed_out() == 8
        check_partitions()

    @pytest.mark.usefixtures("in_steps")
    def test_two_sessions_that_dispatch_one_after_another_step_share_nothing(
        self, tune: Tune
    ) -> None:
        """A session holds its batch while another one dispatches the rest, and commits first."""
        tune(dispatch_keys=3)
        capture.record((User, range(1, 6)), using="default")

        def other() -> None:
            elsewhere(lambda: deletions.dispatch(using="default", limit=3)).join()

        with at(1, moves_deletions, other, after=True):
            assert deletions.dispatch(using="default", limit=3)[0] == 3
        assert sorted(Cascade.objects.values_list("size", flat=True)) == [2, 2, 3, 3]
        check_partitions()

    @pytest.mark.usefixtures("in_steps")
    def test_what_is_committed_during_the_last_batch_has_a_wake_up_of_its_own(
        self, tune: Tune
    ) -> None:
        tune(dispatch_keys=4)
        capture.record((User, range(1, 4)), using="default")

        def late() -> None:
            elsewhere(lambda: capture.record((User, range(11, 14)), using="default")).join()

        with at(1, moves_deletions, late, after=True):
            assert dispatch.sweep("default")[0] == 3
        assert dispatch.sweep("default")[0] == 3

    def test_two_sessions_with_one_statement_each_share_nothing(self) -> None:
        capture.record((User, range(1, 6)), using="default")
        with transaction.atomic():
            assert deletions.dispatch(using="default", limit=3)[0] == 3
            other = elsewhere(lambda: deletions.dispatch(using="default", limit=3))
            other.join(5)
            assert not other.is_alive()
        assert sorted(Cascade.objects.values_list("size", flat=True)) == [2, 2, 3, 3]
        check_partitions()

    def test_one_statement_takes_only_what_is_recorded_under_those_names(self) -> None:
        capture.record((User, range(1, 6)), using="default")
        Deletion.objects.filter(key="1").update(cancelled_at=timezone.now())
        Deletion.objects.filter(key="2").update(relation="blog.Post.author")
        assert [batch_of(NAMED) for _ in range(3)] == [2, 1, 0]
        batches = dict(Deletion.objects.order_by("pk").values_list("key", "batch"))
        assert batches.pop("1") is batches.pop("2") is None
        one, two, three = batches.values()
        assert one == two != three
        check_partitions()
        first, second = Cascade.objects.order_by("batch")
        recorded = Deletion.objects.filter(batch=first.batch).values_list("recorded_at", flat=True)
        assert first.recorded_at == min(recorded)
        assert first.tally != second.tally

    def test_several_names_are_dispatched_by_one_call(self) -> None:
        """One of them is not known here: it stays recorded, and holds up no other one."""
        for model, keys in ((User, [1, 2]), (Owner, [3]), (User, [4])):
            capture.record((model, keys), using="default")
        Deletion.objects.filter(key="4").update(parent="a.Stranger")
        number, databases = deletions.dispatch(using="default", limit=9)
        assert number == 3
        assert {"blog_db", "shop_db", "test_left"} <= databases
        assert Deletion.objects.get(batch=None).key == "4"
        made = Cascade.objects.values_list("parent", "size").distinct()
        assert sorted(made) == [("auth.User", 2), ("parents.Owner", 1)]
        assert deletions.dispatch(using="default", limit=9) == (0, frozenset())
        check_partitions()

    def test_sessions_at_the_same_time_share_nothing(self, at_once: Any) -> None:
        capture.record((User, range(1, 201)), using="default")
        capture.record((Owner, range(1, 51)), using="default")

        def work() -> int:
            return sum(deletions.dispatch(using="default", limit=7)[0] for _ in range(60))

        assert sum(at_once(*[work] * 4)) == 250
        assert "recorded" not in states()
        check_partitions()

    def test_one_statement_that_fails_has_dispatched_nothing(self) -> None:
        capture.record((User, [1, 2]), using="default")
        too_long = "x" * 101
        with pytest.raises(DataError):
            log_backend("default").dispatch_batch({NAMED: [too_long]}, 2, using="default")
        assert states() == ["recorded", "recorded"]
        assert not Cascade.objects.exists()


class TestPurge:
    @pytest.fixture(autouse=True)
    def _old(self, tune: Tune) -> None:
        tune(retention_days=1, purge_keys=10)
        self.old = timezone.now() - dt.timedelta(days=9)

    def test_it_passes_over_what_somebody_holds(self, locked: Any) -> None:
        made = make(
            "auth.User", (1, 2), DATABASES, apart=True, state="verified", recorded_at=self.old
        )
        with locked(Cascade.objects.filter(batch=made[0].pk, database="shop_db")):
            assert [deletions.purge(using="default") for _ in range(2)] == [1, 0]
        assert Deletion.objects.get().key == "1"
        assert Cascade.objects.count() == len(DATABASES)

    def test_it_leaves_a_batch_that_is_reopened_meanwhile(self) -> None:
        one, two = make("auth.User", (1, 2), DATABASES, state="kept", recorded_at=self.old)

        def reopen() -> None:
            elsewhere(lambda: reopen_kept([one.pk], using="default")).join()

        with at(1, locks_cascades, reopen, after=False):
            assert deletions.purge(using="default") == 0
        assert states() == ["dispatched", "kept"]
        check_partitions()
        assert in_database(two, "blog_db").state == "kept"

    def test_a_batch_goes_as_a_whole_and_only_once_it_is_over_everywhere(self) -> None:
        one, two = make("auth.User", (1, 2), DATABASES, state="verified", recorded_at=self.old)
        with transaction.atomic():
            of_two = Cascade.objects.filter(batch=one.pk, database="shop_db")
            whole = separate(of_two, [two.pk], using="default", holder=False)
            Cascade.objects.filter(pk__in=whole).update(ended_at=timezone.now())
        assert deletions.purge(using="default") == 0
        Cascade.objects.update(ended_at=self.old, kept_at=self.old)
        assert deletions.purge(using="default") == 0
        Cascade.objects.update(acknowledged_at=self.old)
        assert deletions.purge(using="default") == 2
        assert not Deletion.objects.exists()
        assert not Cascade.objects.exists()


class TestNoPolicy:
    """The relations of an open cascade have a policy now, or in this release, without work."""

    @pytest.mark.parametrize("state", ["pending", "done"])
    def test_it_is_never_verified(self, state: str) -> None:
        recorded_at = timezone.now() - dt.timedelta(minutes=50)
        (one,) = make(
            Guarded._meta.label,
            [1],
            ["test_right"],
            state=state,
            done_at=PAST if state == "done" else None,
            recorded_at=recorded_at,
            due_at=timezone.now(),
        )
        self._work()
        found = Cascade.objects.get()
        assert (found.state, found.attempts) == ("waiting" if state == "pending" else "done", 0)
        assert found.reason == deletions.NOTHING_TO_DO
        assert found.due_at is not None
        assert found.due_at > timezone.now()
        # As if it had waited for more than an hour.
        recorded_at -= dt.timedelta(minutes=20)
        Cascade.objects.update(due_at=timezone.now(), recorded_at=recorded_at)
        self._work()
        assert in_database(one, "test_right").state == "cancelled"
        assert (states(), Deletion.objects.get().why) == (["cancelled"], deletions.NOTHING_TO_DO)

    @staticmethod
    def _work() -> None:
        cascade.drain("test_right")
        assert proofs.due_done("test_right", now=None, using="default", limit=9) is None
