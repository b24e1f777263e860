"""Attacks on the deletion log: who settles, reopens, dispatches or purges at the same moment."""

from __future__ import annotations

import datetime as dt
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connections, transaction
from django.utils import timezone

from apps.integrity import backends, capture
from apps.integrity.log import claims, deletions, outcomes, values
from apps.integrity.models import Cascade, Deletion
from apps.integrity.queues import dispatch
from sandbox.processes import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

DATABASES = ("blog_db", "shop_db")


def dispatched(*keys: int) -> None:
    capture.record((User, keys), using="default")
    dispatch.sweep("default")


def claimed(database: str) -> values.Claim:
    found = claims.claim(database, using="default", limit=100, lease_seconds=10)
    assert found is not None
    return found


def finish(claim: values.Claim) -> list[int]:
    return outcomes.finish(claim, {each.id: {} for each in claim.cascades}, barrier=None)


def done(database: str) -> values.Claim:
    Cascade.objects.filter(state="done").update(due_at=timezone.now() - dt.timedelta(seconds=1))
    found = claims.claim_done(database, now=None, using="default", limit=100, lease_seconds=10)
    assert found is not None
    return found


def ids(claim: values.Claim) -> list[int]:
    return [each.id for each in claim.cascades]


def state() -> str:
    return Deletion.objects.get().state


def state_in(database: str) -> str:
    return Cascade.objects.get(database=database).state


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


def locks_deletions(sql: str) -> bool:
    return "integrity_deletion" in sql and "FOR NO KEY UPDATE" in sql


def reads_deletions_cascades(sql: str) -> bool:
    return sql.startswith("SELECT") and '"integrity_cascade"."deletion_id" = ANY' in sql


def moves_deletions(sql: str) -> bool:
    return sql.startswith("UPDATE") and "integrity_deletion" in sql


class TestSettling:
    def test_a_database_that_is_verified_while_another_one_settles_waits_for_it(self) -> None:
        """Its own settling sees both, and does not pass over the deletion that is locked."""
        dispatched(1)
        for database in DATABASES:
            finish(claimed(database))
        blog, shop = (done(each) for each in DATABASES)
        others: list[threading.Thread] = []

        def other() -> None:
            others.append(elsewhere(lambda: outcomes.verify(shop, ids(shop))))
            assert eventually(lambda: state_in("shop_db") == "verified", timeout=10)
            others[0].join(0.2)

        # The first such look has no lock, the second one has.
        with at(2, reads_deletions_cascades, other, after=True):
            outcomes.verify(blog, ids(blog))
        others[0].join()
        assert state() == "verified"

    def test_the_last_of_two_databases_settles_whoever_is_first(self) -> None:
        dispatched(1)
        blog, shop = (claimed(each) for each in DATABASES)

        def other() -> None:
            elsewhere(lambda: finish(shop)).join()

        with at(1, reads_deletions_cascades, other, after=False):
            finish(blog)
        assert state() == "cascaded"

    def test_reopened_between_the_look_and_the_lock(self) -> None:
        dispatched(1)
        finish(claimed("blog_db"))
        probed = done("blog_db")
        shop = claimed("shop_db")

        def reopen() -> None:
            elsewhere(lambda: outcomes.reopen(probed, ids(probed), "late")).join()

        with at(1, locks_deletions, reopen, after=False):
            finish(shop)
        assert state_in("blog_db") == "pending"
        assert state() == "dispatched"

    def test_reopened_between_the_decision_and_the_move(self) -> None:
        dispatched(1)
        finish(claimed("blog_db"))
        probed = done("blog_db")
        shop = claimed("shop_db")
        others: list[threading.Thread] = []

        def reopen() -> None:
            others.append(elsewhere(lambda: outcomes.reopen(probed, ids(probed), "late")))
            others[0].join(0.3)

        with at(1, moves_deletions, reopen, after=False):
            finish(shop)
        others[0].join()
        assert state_in("blog_db") == "pending"
        assert state() == "dispatched"


class TestReopening:
    def test_whoever_lost_the_lease_reopens_neither_cascade_nor_deletion(self) -> None:
        """Another verifier holds it, and then has verified it; one database is still to come."""
        dispatched(1)
        for database in DATABASES:
            finish(claimed(database))
        lost, held = done("blog_db"), done("blog_db")
        before = Deletion.objects.values().get()
        assert outcomes.reopen(lost, ids(lost), "late") == 0
        assert Deletion.objects.values().get() == before
        assert outcomes.verify(held, ids(held)) == 1
        assert outcomes.reopen(lost, ids(lost), "late") == 0
        assert Deletion.objects.values().get() == before
        assert state_in("blog_db") == "verified"

    def test_of_a_claim_that_was_lost_in_part_the_rest_is_reopened(self) -> None:
        dispatched(1, 2)
        for database in DATABASES:
            finish(claimed(database))
        held = done("blog_db")
        one, two = held.cascades
        Cascade.objects.filter(pk=one.id).update(claim=uuid4())
        assert outcomes.reopen(held, ids(held), "late") == 1
        states = dict(Deletion.objects.values_list("pk", "state"))
        assert states == {one.deletion: "cascaded", two.deletion: "dispatched"}


class TestProgress:
    def test_whoever_lost_the_claim_keeps_no_rows_and_gives_nothing_back(self) -> None:
        dispatched(1, 2)
        first = claimed("blog_db")
        one, two = first.cascades
        Cascade.objects.update(due_at=timezone.now() - dt.timedelta(seconds=1))
        second = claimed("blog_db")
        outcomes.release(second, {one.id: {"x": 7}}, reason="")
        outcomes.release(outcomes.with_removed(first, {one.id: {"x": 1}, two.id: {"x": 1}}))
        outcomes.release(first, {one.id: {"x": 2}, two.id: {"x": 2}}, reason="")
        outcomes.postpone(
            outcomes.with_removed(first, {one.id: {"x": 3}, two.id: {"x": 3}}), "late"
        )
        rows = Cascade.objects.filter(database="blog_db").order_by("pk")
        assert list(rows.values_list("state", "claim", "rows", "reason")) == [
            ("pending", None, {"x": 7}, ""),
            ("running", second.token, None, ""),
        ]

    def test_handed_back_by_half_and_counted_on(self) -> None:
        dispatched(1, 2)
        held = claimed("blog_db")
        one, two = held.cascades
        outcomes.finish(held, {one.id: {"x": 1}}, barrier=None)
        outcomes.release(outcomes.with_removed(held, {one.id: {"x": 9}, two.id: {"x": 5}}))
        rows = Cascade.objects.filter(database="blog_db").order_by("pk")
        assert list(rows.values_list("state", "rows")) == [
            ("done", {"x": 1}),
            ("pending", {"x": 5}),
        ]
        (again,) = claimed("blog_db").cascades
        assert again.rows == {"x": 5}

    def test_who_finishes_while_it_is_taken_over_has_finished(self) -> None:
        """A live run whose message came again: the row that it marks has just been written."""
        dispatched(1)
        held = claims.claim("blog_db", using="default", limit=1, lease_seconds=10, owner="run")
        assert held is not None
        with transaction.atomic():
            assert claims.take_over("blog_db", owner="run", using="default") == 1
            other = elsewhere(lambda: outcomes.finish(held, {ids(held)[0]: {"x": 5}}, barrier=None))
            other.join(0.3)
            assert other.is_alive()
        other.join()
        row = Cascade.objects.get(database="blog_db")
        assert (row.state, row.rows) == ("done", {"x": 5})


class TestDispatch:
    def test_a_batch_that_is_short_for_somebody_s_lock_leaves_the_rest_to_the_next(
        self, tune: Tune, locked: Any
    ) -> None:
        tune(dispatch_keys=4)
        capture.record((User, range(1, 11)), using="default")
        with locked(Deletion.objects.filter(key__in=["1", "5", "9"])):
            assert dispatch.sweep("default")[0] == 7
        assert dispatch.sweep("default")[0] == 3
        assert Cascade.objects.count() == 20

    def test_no_deletion_is_dispatched_without_its_cascades(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A dispatcher that dies as it makes them has dispatched nothing, or all of it."""
        capture.record((User, [1]), using="default")

        def die(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        form = type(backends.log_backend("default"))
        with monkeypatch.context() as broken:
            broken.setattr(form, "insert_cascades", die)
            with pytest.raises(KeyboardInterrupt):
                dispatch.sweep("default")
        assert Deletion.objects.get().state == "recorded"
        assert dispatch.sweep("default")[0] == 1
        assert Cascade.objects.count() == 2

    def test_a_dispatcher_that_dies_in_its_batch_leaves_it_to_the_next(self, tune: Tune) -> None:
        tune(dispatch_keys=4)
        capture.record((User, range(1, 11)), using="default")

        class Death(BaseException):
            pass

        def die() -> None:
            raise Death

        with pytest.raises(Death), at(2, moves_deletions, die, after=True):
            dispatch.sweep("default")
        assert Deletion.objects.filter(state="recorded").count() == 6
        assert Cascade.objects.count() == 8
        assert dispatch.sweep("default")[0] == 6
        assert Cascade.objects.count() == 20

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


def test_a_purge_passes_over_what_somebody_holds(tune: Tune, locked: Any) -> None:
    tune(retention_days=1, purge_keys=1)
    capture.record((User, (1, 2)), using="default")
    old = timezone.now() - dt.timedelta(days=9)
    Deletion.objects.update(ended_at=old, state="verified")
    with locked(Deletion.objects.filter(key="1")):
        assert [deletions.purge(using="default") for _ in range(2)] == [1, 0]
    assert Deletion.objects.get().key == "1"
