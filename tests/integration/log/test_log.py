"""The log's transitions: each safe to repeat, none by somebody who lost the claim."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from apps.integrity import capture
from apps.integrity.control import circuit_breaker, heartbeats
from apps.integrity.exceptions import DatabaseUnreachable
from apps.integrity.log import claims, deletions, outcomes, retry
from apps.integrity.log.parts import separate
from apps.integrity.log.tables import of_deletions
from apps.integrity.models import Cascade, ChildDatabase, Deletion, Heartbeat
from apps.integrity.queues import dispatch
from tests.kinds.parents.models import Owner
from tests.log_rows import cascade_of, deletion_of, in_database

if TYPE_CHECKING:
    from collections.abc import Callable

    from apps.integrity.log.values import Claim
    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

DATABASE = "blog_db"
DATABASES = ("blog_db", "shop_db")
BY_NOBODY: Any = {"using": "default", "holder": False}


def dispatched(*keys: object, model: Any = User) -> None:
    capture.record((model, keys), using="default")
    dispatch.sweep("default")


def claim(limit: int = 100, database: str = DATABASE, lease: float = 10.0) -> Claim | None:
    return claims.claim(database, using="default", limit=limit, lease_seconds=lease)


def claimed(limit: int = 100, **options: Any) -> Claim:
    found = claim(limit, **options)
    assert found is not None
    return found


def cascade(key: object = "1", database: str = DATABASE) -> Cascade:
    return cascade_of(key, database)


def holding(*keys: object) -> Any:
    """Return the cascades that hold those keys, as a queryset."""
    return Cascade.objects.filter(
        pk__in=[cascade(key, one).pk for key in keys for one in DATABASES]
    )


def apart(*keys: object) -> None:
    """Give each of those keys cascades of its own, as dispatching one after another does."""
    with transaction.atomic():
        for key in keys:
            deletion = deletion_of(key)
            separate(of_deletions([deletion.pk], "default"), [deletion.pk], **BY_NOBODY)


def nothing(of: Claim) -> dict[int, dict[str, int]]:
    """Return that no rows were changed for any of its deletions."""
    return {pk: {} for pk in of.ids}


def seconds_until_due(found: Cascade) -> float:
    assert found.due_at is not None
    return (found.due_at - timezone.now()).total_seconds()


def due_now() -> None:
    Cascade.objects.update(due_at=timezone.now() - dt.timedelta(seconds=1))


class TestClaim:
    def test_it_holds_what_is_due_in_one_database_and_counts_the_attempt(self) -> None:
        dispatched(1, 2)
        found = claimed()
        assert sorted(each.key for each in found.deletions) == ["1", "2"]
        assert found.parent == "auth.User"
        assert {each.attempts for each in found.deletions} == {1}
        row = cascade()
        assert (row.state, row.claim, row.attempts) == ("running", found.token, 1)
        assert 5 < seconds_until_due(row) <= 10
        assert cascade(database="shop_db").state == "pending"

    def test_what_is_held_cannot_be_claimed_again(self) -> None:
        dispatched(1, 2)
        apart(1, 2)
        (held,) = claimed(1).deletions
        Cascade.objects.filter(database=DATABASE, attempts=0).update(attempts=1)
        (other,) = claimed().deletions
        assert other.id != held.id
        assert claim() is None

    def test_an_expired_lease_can_and_its_first_holder_then_changes_nothing(self) -> None:
        dispatched(1)
        first = claimed()
        due_now()
        second = claimed()
        assert [each.id for each in second.deletions] == [each.id for each in first.deletions]
        assert second.deletions[0].attempts == 2
        held = {each.id: {"x": 1} for each in first.deletions}
        before = Cascade.objects.filter(database=DATABASE).values().get()
        assert outcomes.finish(first, held, barrier=None) == []
        outcomes.release(first, held, reason="")
        outcomes.postpone(first, "late")
        outcomes.release(first)
        assert Cascade.objects.filter(database=DATABASE).values().get() == before
        assert outcomes.finish(second, held, barrier=None) == [first.deletions[0].id]

    def test_what_is_not_due_yet_is_left(self) -> None:
        dispatched(1)
        Cascade.objects.update(due_at=timezone.now() + dt.timedelta(hours=1))
        assert claim() is None
        assert claims.due_databases(using="default") == frozenset()

    @pytest.mark.parametrize("state", ["blocked", "done", "verified", "cancelled"])
    def test_only_open_cascades_are_claimed(self, state: str) -> None:
        dispatched(1)
        Cascade.objects.update(state=state)
        assert claim() is None

    def test_it_takes_the_longest_due_first_and_at_most_the_limit(self) -> None:
        dispatched(1, 2, 3)
        apart(1, 2, 3)
        for key, seconds in (("3", 60), ("1", 30)):
            holding(key).update(due_at=F("due_at") - dt.timedelta(seconds=seconds))
        assert sorted(each.key for each in claimed(2).deletions) == ["1", "3"]
        assert [each.key for each in claimed(2).deletions] == ["2"]

    def test_a_deletion_that_somebody_removed_by_hand_holds_up_no_other_one(
        self, tune: Tune
    ) -> None:
        tune(attempts=2)
        dispatched(1, 2, 3)
        one, *others = Deletion.objects.order_by("pk").values_list("pk", flat=True)
        Deletion.objects.filter(pk=one).delete()
        held = claimed()
        assert held.ids == others
        assert outcomes.finish(held, nothing(held), barrier=None) == others
        due_now()
        assert claimed().ids == []
        due_now()
        assert claim() is None
        retry.block_lost(using="default")
        assert Cascade.objects.get(state="blocked", database=DATABASE).deletions == [one]

    def test_it_is_of_one_parent_model(self) -> None:
        dispatched(1)
        dispatched(2, model=Owner)
        assert claimed(database="test_left").parent == "parents.Owner"
        assert claim(database="test_left") is None

    def test_a_failed_one_is_claimed_in_smaller_company(self) -> None:
        dispatched(*range(1, 9))
        apart(*range(1, 9))
        holding("1").update(attempts=2, due_at=F("due_at") - dt.timedelta(seconds=60))
        assert len(claimed(8).deletions) == 2

    def test_it_takes_whole_batches_up_to_the_limit(self) -> None:
        for keys in ((1, 2), (3, 4), (5, 6)):
            dispatched(*keys)
        assert sorted(each.key for each in claimed(5).deletions) == ["1", "2", "3", "4"]

    @pytest.mark.postgresql
    def test_what_failed_or_has_begun_is_not_claimed_with_what_is_new(self) -> None:
        dispatched(*range(1, 5))
        apart(*range(1, 5))
        holding("2").update(attempts=1)
        holding("3").update(rows={})
        assert sorted(each.key for each in claimed().deletions) == ["1", "4"]
        assert sorted(each.key for _ in range(2) for each in claimed().deletions) == ["2", "3"]

    def test_what_is_not_known_here_is_set_aside(self) -> None:
        """It waits longest, but a process that does not know it must not end it."""
        dispatched(1)
        dispatched(2)
        holding("1").update(parent="old.Name", due_at=F("due_at") - dt.timedelta(seconds=60))
        assert [each.key for each in claimed().deletions] == ["2"]
        row = cascade("1")
        assert (row.state, row.attempts) == ("waiting", 0)
        assert "old.Name" in row.reason

    def test_what_somebody_is_just_claiming_is_passed_over_without_waiting(
        self, locked: Any
    ) -> None:
        dispatched(1, 2)
        apart(1)
        with locked(holding("1")):
            assert [each.key for each in claimed().deletions] == ["2"]

    def test_claims_at_the_same_time_never_share_a_cascade(
        self, at_once: Callable[..., Any]
    ) -> None:
        dispatched(*range(1, 201))

        def work() -> list[int]:
            found = []
            while held := claim(10):
                found += [each.id for each in held.deletions]
            return found

        held = [pk for each in at_once(*[work] * 4) for pk in each]
        assert len(held) == len(set(held)) == 200

    def test_nor_do_claims_of_whole_cascades(self, at_once: Callable[..., Any]) -> None:
        dispatched(*range(1, 101))
        apart(*range(1, 101))

        def work() -> list[int]:
            found = []
            while held := claim(3):
                found += [each.id for each in held.deletions]
            return found

        held = [pk for each in at_once(*[work] * 4) for pk in each]
        assert len(held) == len(set(held)) == 100


class TestFinish:
    def test_the_last_database_to_finish_completes_the_deletion(self) -> None:
        dispatched(1)
        for database, state in (("blog_db", "dispatched"), ("shop_db", "cascaded")):
            held = claimed(database=database)
            outcomes.finish(held, {held.deletions[0].id: {"a": 1}}, barrier=None)
            assert Deletion.objects.get().state == state
        assert in_database(1, DATABASE).rows == {"a": 1}
        assert cascade().done_at is not None

    def test_nothing_to_finish_is_fine(self) -> None:
        dispatched(1)
        assert outcomes.finish(claimed(), {}, barrier=None) == []


class TestRelease:
    def test_it_goes_to_the_end_of_the_queue_with_its_progress_and_uncounted(self) -> None:
        dispatched(1, 2, 3)
        apart(1, 2, 3)
        held = claimed(2)
        first, second = held.deletions
        outcomes.release(held, {first.id: {"a": 5}, second.id: {}}, reason="")
        row = cascade(first.key)
        assert (row.state, row.claim, row.attempts) == ("pending", None, 0)
        assert row.rows == {str(first.id): {"a": 5}}
        (ahead,) = claimed(1).deletions
        assert ahead.key not in {first.key, second.key}
        # What is half done has a turn of its own.
        turns = [[(one.key, one.rows) for one in claimed().deletions] for _ in range(2)]
        assert sorted(turns) == sorted([[(first.key, {"a": 5})], [(second.key, {})]])

    def test_with_a_reason_it_waits_for_a_moment(self) -> None:
        dispatched(1)
        held = claimed()
        outcomes.release(held, {held.deletions[0].id: {}}, reason="locked")
        row = cascade()
        assert (row.state, row.reason, row.attempts) == ("waiting", "locked", 0)
        assert 0 < seconds_until_due(row) <= outcomes.MOMENT_SECONDS


class TestPostpone:
    def test_it_waits_longer_each_time_with_the_reason_and_the_attempts(self, tune: Tune) -> None:
        tune(backoff_seconds=100, backoff_seconds_max=10_000)
        dispatched(1)
        for attempts, wait in ((1, 100), (2, 200), (3, 400)):
            due_now()
            outcomes.postpone(claimed(), f"error {attempts}")
            row = cascade()
            assert (row.state, row.attempts, row.claim) == ("waiting", attempts, None)
            assert row.reason == f"error {attempts}"
            assert wait * 0.7 < seconds_until_due(row) < wait * 1.3

    def test_after_the_last_attempt_it_is_blocked_and_keeps_the_error(self, tune: Tune) -> None:
        tune(attempts=3)
        dispatched(1)
        states = []
        for _ in range(3):
            due_now()
            outcomes.postpone(claimed(), "broken")
            states.append(cascade().state)
        assert states == ["waiting", "waiting", "blocked"]
        assert cascade().reason == "broken"
        due_now()
        assert claim() is None
        assert Deletion.objects.get().state == "dispatched"

    def test_each_waits_by_its_own_attempts(self, tune: Tune) -> None:
        tune(backoff_seconds=100, attempts=5)
        dispatched(1, 2, 3)
        apart(1, 2, 3)
        for key, attempts in (("1", 1), ("2", 2), ("3", 4)):
            holding(key).update(attempts=attempts)
        together = []
        while held := claim(10_000):
            together.append(sorted(each.key for each in held.deletions))
            outcomes.postpone(held, "broken")
        assert sorted(together) == [["1", "2"], ["3"]]  # nobody shares a last attempt
        assert cascade("3").state == "blocked"
        assert seconds_until_due(cascade("1")) < 260
        assert seconds_until_due(cascade("2")) > 290


class TestCancel:
    def test_it_ends_what_is_open_and_says_why(self) -> None:
        dispatched(1, 2)
        held = claimed()
        one = Deletion.objects.get(key="1")
        assert deletions.cancel([one.pk], "alive", using="default") == 1
        one.refresh_from_db()
        assert (one.state, one.reason) == ("cancelled", "alive")
        for database in ("blog_db", "shop_db"):
            row = cascade(database=database)
            assert (row.state, row.reason, row.claim) == ("cancelled", "alive", None)
        # Its worker lost the claim of the rest: it may be at work on what was cancelled.
        assert (cascade("2").state, cascade("2").claim, cascade("2").attempts) == (
            "pending",
            None,
            0,
        )
        assert outcomes.finish(held, nothing(held), barrier=None) == []
        assert cascade().state == "cancelled"
        again = claimed()
        assert outcomes.finish(again, nothing(again), barrier=None) == [
            Deletion.objects.get(key="2").pk
        ]

    def test_what_is_done_is_not_verified_any_more(self) -> None:
        dispatched(1)
        held = claimed()
        outcomes.finish(held, nothing(held), barrier=None)
        deletions.cancel([Deletion.objects.get().pk], "given up", using="default")
        assert not Cascade.objects.exclude(state="cancelled").exists()

    def test_the_second_time_it_changes_nothing(self) -> None:
        dispatched(1)
        ids = list(Deletion.objects.values_list("pk", flat=True))
        assert deletions.cancel(ids, "alive", using="default") == 1
        assert deletions.cancel(ids, "again", using="default") == 0
        assert Deletion.objects.get().reason == "alive"


class TestUnreachable:
    def test_one_caller_per_interval_may_probe(
        self, tune: Tune, at_once: Callable[..., Any]
    ) -> None:
        tune(probe_seconds=60)
        assert circuit_breaker.outage(DATABASE, using="default") is None
        circuit_breaker.write_outage(
            DatabaseUnreachable(DATABASE, OSError("refused")), using="default"
        )
        assert circuit_breaker.outage(DATABASE, using="default") == circuit_breaker.Outage(
            "cannot be reached: refused", unreachable=True
        )
        assert not circuit_breaker.claim_probe(DATABASE, using="default")
        assert circuit_breaker.outage("shop_db", using="default") is None
        ChildDatabase.objects.update(probe_at=timezone.now())
        probes = at_once(*[lambda: circuit_breaker.claim_probe(DATABASE, using="default")] * 4)
        assert sorted(probes) == [False, False, False, True]

    def test_it_keeps_since_when_and_the_latest_reason(self) -> None:
        for text in ("first", "second"):
            circuit_breaker.write_outage(
                DatabaseUnreachable(DATABASE, OSError(text)), using="default"
            )
            row = ChildDatabase.objects.get()
            assert row.reason == f"cannot be reached: {text}"
            since = row.unreachable_since
        assert ChildDatabase.objects.get().unreachable_since == since
        circuit_breaker.write_recovery(DATABASE, using="default")
        row = ChildDatabase.objects.get()
        assert (row.unreachable_since, row.probe_at, row.reason) == (None, None, "")
        assert circuit_breaker.outage(DATABASE, using="default") is None

    def test_handing_back_burns_no_attempt(self) -> None:
        dispatched(1, 2)
        outcomes.release(claimed())
        rows = Cascade.objects.filter(database=DATABASE)
        assert set(rows.values_list("state", "attempts", "claim")) == {("pending", 0, None)}
        assert claim() is not None


def test_a_sign_of_life_is_one_row_per_name() -> None:
    for name in ("beat", "worker", "beat"):
        heartbeats.record(name, using="default")
    assert sorted(Heartbeat.objects.values_list("name", flat=True)) == ["beat", "worker"]
    before = Heartbeat.objects.get(name="beat").seen_at
    heartbeats.record("beat", using="default")
    assert Heartbeat.objects.get(name="beat").seen_at == before  # a moment ago is now
    Heartbeat.objects.update(seen_at=before - dt.timedelta(seconds=heartbeats.BEAT_SECONDS + 1))
    heartbeats.record("beat", using="default")
    assert Heartbeat.objects.get(name="beat").seen_at > before
    assert Heartbeat.objects.get(name="worker").seen_at < before
