"""Note [A partition]: each deletion has exactly one cascade in each of its databases."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.db import connections, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.integrity.log import claims, deletions, kept, outcomes, parts, proofs, retry, tables
from apps.integrity.models import Cascade, Deletion
from tests.log_rows import cascade_of, check_partitions, in_database, make, states

if TYPE_CHECKING:
    from collections.abc import Callable

    from apps.integrity.log.values import Claim

pytestmark = pytest.mark.usefixtures("committed")

DATABASES = ("blog_db", "shop_db")
SIZE = 7

#: Who separates which deletions of the batch (by number), in one of the databases or in both.
SPLITS = st.lists(
    st.tuples(
        st.booleans(),
        st.sampled_from([*DATABASES, None]),
        st.sets(st.integers(0, SIZE + 1)),
        st.sampled_from(["pending", "running", "done", None]),
    ),
    max_size=6,
)


def batch(**columns: Any) -> list[int]:
    """Make a batch whose cascades have documents about some of its deletions; return its ids."""
    made = [row.pk for row in make("auth.User", range(SIZE), DATABASES, **columns)]
    Cascade.objects.filter(batch=made[0]).update(rows=rows_of(made), kept=kept_of(made))
    return made


def rows_of(ids: list[int]) -> dict[str, dict[str, int]]:
    return {str(pk): {"x": pk} for pk in ids[::2]}


def kept_of(ids: list[int]) -> dict[str, dict[str, int]]:
    return {str(pk): {"y": pk} for pk in ids[::3]}


def claimed(database: str = "blog_db", limit: int = 100) -> Claim:
    found = claims.claim(database, using="default", limit=limit, lease_seconds=60)
    assert found is not None
    return found


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


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(splits=SPLITS)
def test_whoever_separates_what_in_whatever_order_it_stays_a_partition(splits: Any) -> None:
    with transaction.atomic():
        ids = batch(state="running", claim=uuid4(), attempts=1)
        strangers = batch()
        for holder, database, numbers, state in splits:
            wanted = {
                ids[number] if number < SIZE else strangers[number - SIZE] for number in numbers
            }
            cascades = tables.cascades("default").filter(batch=ids[0])
            if database:
                cascades = cascades.filter(database=database)
            before = {row.pk: row for row in cascades}
            whole = parts.separate(cascades, wanted, using="default", holder=holder)
            _check_split(ids, before, whole, wanted & {*ids}, holder=holder)
            if state:
                Cascade.objects.filter(pk__in=whole).update(state=state)
        assert Cascade.objects.filter(batch=strangers[0]).count() == len(DATABASES)
        transaction.set_rollback(True)


def _check_split(
    ids: list[int],
    before: dict[int, Cascade],
    whole: dict[int, list[int]],
    wanted: set[int],
    *,
    holder: bool,
) -> None:
    check_partitions()
    for database in {row.database for row in before.values()}:
        rows = Cascade.objects.filter(pk__in=whole, database=database)
        assert sorted(pk for row in rows for pk in row.deletions) == sorted(wanted)
    for row in Cascade.objects.filter(batch=ids[0]):
        if row.pk in whole:
            assert row.deletions == whole[row.pk]
        here = {str(pk) for pk in row.deletions}
        for document, of_all in ((row.rows, rows_of(ids)), (row.kept, kept_of(ids))):
            assert (document or {}) == {pk: of_all[pk] for pk in of_all if pk in here}
        # What was not split is as it was; what was split is claimed anew, but by the holder.
        was = next((old for old in before.values() if {*row.deletions} <= {*old.deletions}), None)
        if was and was.database == row.database and was.size > row.size:
            revoked = was.state == "running" and not holder
            expected = ("pending", None, max(0, was.attempts - 1))
            held = (was.state, was.claim, was.attempts)
            assert (row.state, row.claim, row.attempts) == (expected if revoked else held)


class TestOneClaim:
    """The deletions of one cascade go different ways."""

    def test_what_is_finished_leaves_the_rest_to_the_same_claim(self) -> None:
        ids = batch()
        held = claimed()
        assert outcomes.finish(held, {ids[0]: {"x": 1}, ids[1]: {}}, barrier=None) == ids[:2]
        assert outcomes.finish(held, {ids[2]: {}}, barrier=None) == ids[2:3]
        check_partitions()
        found = [in_database(Deletion(pk=pk), "blog_db").state for pk in ids]
        assert found == ["done"] * 3 + ["running"] * 4
        assert in_database(Deletion(pk=ids[0]), "blog_db").rows == {"x": 1}
        assert cascade_of(Deletion(pk=ids[6]), "blog_db").claim == held.token

    def test_a_part_of_the_claim_speaks_only_for_that_part(self) -> None:
        """As in a bisection: the other half is in the same cascade, and nobody worked on it."""
        ids = batch()
        held = claimed()
        half = held.only(ids[:3])
        assert outcomes.finish(half, {pk: {} for pk in half.ids}, barrier=None) == ids[:3]
        outcomes.postpone(held.only(ids[3:4]), "broken")
        outcomes.release(held.only(ids[4:5]), reason="locked")
        found = [in_database(Deletion(pk=pk), "blog_db") for pk in ids]
        states = ["done"] * 3 + ["waiting"] * 2 + ["running"] * 2
        assert [one.state for one in found] == states
        assert [one.reason for one in found[3:5]] == ["broken", "locked"]
        check_partitions()

    def test_what_was_noted_is_finished_with_the_rest(self) -> None:
        ids = batch()
        held = claimed()
        kept.note(held, {ids[1]: {"z": 4}})
        assert outcomes.finish(held, {pk: {} for pk in ids}, barrier=None) == ids
        one = in_database(Deletion(pk=ids[1]), "blog_db")
        assert (one.state, one.kept, one.is_unacknowledged) == ("done", {"z": 4}, True)
        assert not in_database(Deletion(pk=ids[2]), "blog_db").is_unacknowledged
        check_partitions()

    def test_those_that_keep_as_many_rows_stay_together(self) -> None:
        ids = batch()
        Cascade.objects.update(kept=None)
        held = claimed()
        rows = {**{pk: {"z": 4} for pk in ids[:4]}, ids[4]: {"z": 0}}
        assert kept.keep(held, rows) == ids[:5]
        assert kept.keep(held, rows) == []
        one, two, rest = Cascade.objects.filter(database="blog_db").order_by("-size")[::1][:3]
        assert sorted([one.size, two.size, rest.size]) == [1, 2, 4]
        found = [in_database(Deletion(pk=pk), "blog_db") for pk in ids]
        assert [each.state for each in found] == ["kept"] * 5 + ["running"] * 2
        assert [each.is_unacknowledged for each in found] == [True] * 4 + [False] * 3
        assert [each.kept for each in found[3:6]] == [{"z": 4}, {"z": 0}, {}]
        assert [each.rows for each in found] == [rows_of(ids).get(str(pk), {}) for pk in ids]
        check_partitions()


class TestOthers:
    """An operator acts while a worker holds the cascade."""

    def test_the_rest_of_a_running_cascade_is_claimed_anew(self) -> None:
        ids = batch()
        held = claimed()
        assert deletions.cancel(ids[:2], "alive", using="default") == 2
        assert outcomes.finish(held, {pk: {} for pk in ids}, barrier=None) == []
        outcomes.postpone(held, "late")
        assert outcomes.renew(held, lease_seconds=60) == 0
        again = claimed()
        assert again.ids == ids[2:]
        assert outcomes.finish(again, {pk: {} for pk in again.ids}, barrier=None) == ids[2:]
        found = [in_database(Deletion(pk=pk), "blog_db").state for pk in ids]
        assert found == ["cancelled"] * 2 + ["done"] * 5

    def test_what_a_worker_splits_off_meanwhile_is_cancelled_as_well(self) -> None:
        """A statement that waits for a lock does not see the part that was made meanwhile."""
        ids = batch()
        held = claimed()
        found: list[int] = []
        with transaction.atomic():
            outcomes.postpone(held.only(ids[:1]), "broken")
            other = elsewhere(
                lambda: found.append(deletions.cancel(ids[:2], "alive", using="default"))
            )
            other.join(0.5)
            assert other.is_alive()
        other.join()
        assert found == [2]
        states = [in_database(Deletion(pk=pk), "blog_db").state for pk in ids]
        assert states == ["cancelled"] * 2 + ["pending"] * 5
        check_partitions()

    def test_who_verifies_goes_on_with_what_was_not_cancelled(self) -> None:
        ids = batch(state="done")
        held = proofs.due_done("blog_db", now=None, using="default", limit=100)
        assert held is not None
        deletions.cancel(ids[:2], "alive", using="default")
        assert outcomes.verify(held, ids) == SIZE - 2
        found = [in_database(Deletion(pk=pk), "blog_db").state for pk in ids]
        assert found == ["cancelled"] * 2 + ["verified"] * 5


class TestNumbers:
    """An operator reads how many deletions changed, in how many databases."""

    @pytest.mark.parametrize("act", [retry.retry_blocked, kept.acknowledge_kept])
    def test_of_all_and_of_some(self, act: Any) -> None:
        ids = batch(state="blocked")
        now = Deletion.objects.latest("pk").recorded_at
        Cascade.objects.update(kept_at=now)
        assert act(ids[:2], using="default") == 2 * len(DATABASES)
        assert act(ids[:3], using="default") == len(DATABASES)
        assert act(None, using="default") == (SIZE - 3) * len(DATABASES)
        assert act(None, using="default") == act(ids, using="default") == 0
        check_partitions()

    def test_more_than_one_step_of_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(parts, "STEP", 2)
        make("auth.User", range(5), DATABASES, state="blocked", apart=True)
        assert retry.retry_blocked(None, using="default") == 5 * len(DATABASES)

    def test_kept_ones_that_are_tried_again_begin_anew(self) -> None:
        ids = batch(state="kept", reason="taken")
        assert kept.reopen_kept(ids[:2], using="default") == sorted(ids[:2] * len(DATABASES))
        assert kept.reopen_kept(ids[:2], using="default") == []
        again, other = (in_database(Deletion(pk=pk), "blog_db") for pk in (ids[0], ids[3]))
        assert (again.state, again.reason, again.kept) == ("pending", "", {})
        assert (other.state, other.reason, other.kept) == ("kept", "taken", {"y": ids[3]})
        row = cascade_of(Deletion(pk=ids[0]), "blog_db")
        assert (row.ended_at, row.done_at, row.due_at is None) == (None, None, False)
        assert claimed().ids == ids[:2]


def test_a_log_without_row_locks_and_arrays_splits_as_well() -> None:
    log = "test_lite"
    ids = [row.pk for row in make("lite.Author", range(5), ["a", "b"], state="blocked", using=log)]
    Cascade.objects.using(log).update(rows=rows_of(ids))
    assert retry.retry_blocked(ids[:2], using=log) == 4
    assert deletions.cancel(ids[1:4], "alive", using=log) == 3
    check_partitions(using=log)
    assert states(using=log) == ["dispatched", *["cancelled"] * 3, "dispatched"]
    assert in_database(Deletion(pk=ids[2]), "b", using=log).rows == {"x": ids[2]}
    held = claims.claim("a", using=log, limit=100, lease_seconds=60)
    assert held is None  # nobody here knows that database
    assert retry.retry_blocked(None, using=log) == 2
