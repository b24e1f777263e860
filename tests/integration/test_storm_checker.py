"""What `./run storm` rests on: one row turns its checker red, and one silence its clocks."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from apps.blog.models import Post
from apps.integrity.cascade import verification
from apps.integrity.log import parts
from apps.integrity.models import Cascade, Deletion
from apps.shop.models import Order
from tests import log_rows
from tests.chaos import rows
from tests.chaos.storm import population, states
from tests.chaos.storm.checker import Checker
from tests.chaos.storm.deleter import remove
from tests.chaos.storm.journal import Journal
from tests.chaos.storm.plan import TROUBLES, Fault, Plan
from tests.chaos.storm.scene import DELETER_NAMES, Scene
from tests.chaos.storm.shown import SHOWN_SECONDS, Clock, Shown
from tests.chaos.storm.troubles import WORDS, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from django.db.models import QuerySet

    from apps.integrity.report import backlog

PLAN = Plan(seed=3, users=12, kills=20, redis_restarts=2, both_outages=False)
DOOMED, LIVING = [1, 2, 3], 7


@pytest.fixture
def checker(tmp_path: Path, converge: Callable[[], Counter[str]]) -> Checker:
    """A storm is over: some users are deleted, their rows are gone, and verified."""
    scene = Scene(tmp_path)
    rows.load(population.rows(PLAN))
    journal = Journal(scene.journal(DELETER_NAMES[0]))
    name = journal.intend("delete", batch=0, doomed=DOOMED, spared=[])
    remove(DOOMED, "queryset")
    journal.end(name)
    converge()
    Cascade.objects.update(due_at=timezone.now())
    for alias in ("blog_db", "shop_db"):
        assert verification.verify(alias).verified == len(DOOMED)
    return Checker(PLAN, scene)


def apart(user: int, database: str) -> QuerySet[Cascade]:
    """The user's cascade into a database, split off from those of the others."""
    deletion, cascade = log_rows.deletion_of(user), log_rows.cascade_of(user, database)
    rows = Cascade.objects.filter(pk=cascade.pk)
    with transaction.atomic():
        (pk,) = parts.separate(rows, [deletion.pk], using="default", holder=False)
    return Cascade.objects.filter(pk=pk)


def test_it_finds_nothing_where_every_promise_was_kept(checker: Checker) -> None:
    assert checker.differences() == []
    assert checker.converged()


@pytest.mark.parametrize("kind", ["post", "order", "comment"])
def test_one_row_that_was_left(checker: Checker, kind: str) -> None:
    posts = rows.stored()["post"]
    lost = next(
        row
        for row in checker.original[kind].values()
        if row[1] == DOOMED[0] and (kind != "comment" or row[2] in posts)
    )
    rows.insert(kind, lost)
    assert not checker.converged()
    found = checker.differences()
    assert f"1 x {kind} without a parent: {lost[0]}" in found
    assert f"1 x deleted {kind} left: {lost[0]}" in found


def test_one_row_of_a_living_user_that_is_gone(checker: Checker) -> None:
    [row, *_] = Order.objects.filter(customer_id=LIVING).values_list("pk", flat=True)
    Order.objects.filter(pk=row)._raw_delete("shop_db")
    assert checker.differences() == [f"1 x living order gone: {row}"]


def test_a_living_user_that_is_gone_with_all_rows(
    checker: Checker, converge: Callable[[], Counter[str]]
) -> None:
    User.objects.filter(pk=LIVING).delete()
    converge()
    differences = checker.differences()
    assert f"1 x living user gone: {LIVING}" in differences
    assert any("living order gone" in line for line in differences)


def test_one_row_of_a_living_user_that_was_changed(checker: Checker) -> None:
    [row, *_] = Post.objects.filter(author_id=LIVING).values_list("pk", flat=True)
    Post.objects.filter(pk=row).update(title="Another one")
    assert checker.differences() == [f"1 x post changed: {row}"]


def test_one_row_that_nobody_inserted(checker: Checker) -> None:
    rows.insert("order", (777, LIVING, "from-nowhere", "1.50"))
    assert checker.differences() == ["1 x order from nowhere: 777"]


class TestAFalseReceipt:
    def test_of_a_cascade_that_is_not_verified(self, checker: Checker) -> None:
        apart(DOOMED[0], "blog_db").update(state="done", due_at=timezone.now(), ended_at=None)
        verified, contradicts = checker.differences()
        assert verified == f"1 x gone, but not verified: {DOOMED[0]}"
        assert contradicts.startswith("1 x receipt that contradicts itself")

    def test_of_a_database_that_it_does_not_speak_for(self, checker: Checker) -> None:
        apart(DOOMED[0], "shop_db").delete()
        found = checker.differences()
        assert any(line.startswith("1 x receipt that contradicts itself") for line in found)

    @pytest.mark.parametrize("relation", ["blog.Post.author", "shop.Order.customer"])
    def test_of_one_row_too_many(self, checker: Checker, relation: str) -> None:
        """Even where other receipts count too few."""
        database = "blog_db" if relation.startswith("blog") else "shop_db"
        for each in ("blog_db", "shop_db"):
            apart(DOOMED[1], each).update(rows=None)
        deletion = log_rows.deletion_of(DOOMED[0])
        rows = {**log_rows.in_database(deletion, database).rows}
        rows[relation] += 1
        apart(DOOMED[0], database).update(rows={str(deletion.pk): rows})
        assert f"1 x receipt that counts more rows than were removed: {DOOMED[0]}" in (
            checker.differences()
        )

    @pytest.mark.parametrize("relation", ["blog.Post.author", "shop.Order.customer"])
    def test_of_one_row_too_few(self, checker: Checker, relation: str) -> None:
        database = "blog_db" if relation.startswith("blog") else "shop_db"
        deletion = log_rows.deletion_of(DOOMED[0])
        rows = {**log_rows.in_database(deletion, database).rows}
        rows[relation] -= 1
        apart(DOOMED[0], database).update(rows={str(deletion.pk): rows})
        assert f"1 x receipt that counts fewer rows than were removed: {DOOMED[0]}" in (
            checker.differences()
        )

    def test_of_many_rows_too_few(self, checker: Checker) -> None:
        for each in ("blog_db", "shop_db"):
            apart(DOOMED[1], each).update(rows=None)
        found = checker.differences()
        assert any(line.startswith("3 x receipts that account for too few rows") for line in found)

    def test_of_a_user_who_was_never_deleted(self, checker: Checker) -> None:
        Deletion.objects.create(parent="auth.User", key=str(LIVING), source="api")
        [found, *_] = checker.differences()
        assert found == f"1 x logged, but not deleted: {LIVING}"


class TestWhatIsShown:
    """A trouble that lasts and that the status does not name turns the verdict red."""

    @staticmethod
    def clock(kind: Any) -> Clock:
        return Clock(Trouble(Fault(at=0, kind=kind, target="blog_db", pick=1.0), {}))

    @staticmethod
    def row(reason: str = "", unproven: str = "") -> backlog.DatabaseRow:
        row: Any = {"reason": reason, "unproven_reason": unproven}
        return row

    @pytest.mark.parametrize("kind", list(WORDS))
    def test_in_time(self, kind: str) -> None:
        clock, said = self.clock(kind), f"1 waiting: {WORDS[kind]}"
        clock.look(self.row(), 1.0)
        clock.look(self.row(said) if kind != "idle" else self.row(unproven=said), 1.0)
        clock.look(self.row(), 20.0)
        assert (clock.told, clock.verdict) == (2.0, "")

    @pytest.mark.parametrize("kind", list(WORDS))
    def test_never(self, kind: str) -> None:
        clock = self.clock(kind)
        clock.look(self.row("something else"), SHOWN_SECONDS)
        assert clock.verdict == ""
        clock.look(self.row("something else"), 1.0)
        assert clock.verdict == (
            f"blog_db {kind}: not shown in 11.0 s; the status said 'something else'"
        )

    def test_of_most_troubles_nothing_was_felt(self) -> None:
        clocks = [self.clock(kind) for kind in ("full", "hidden", "narrow")]
        shown = Shown(lambda _: True, clocks)
        clocks[0].look(self.row(WORDS["full"]), 1.0)
        assert list(shown.too_mild()) == ["too mild: only 1 of 2 troubles were shown"]
        clocks[1].look(self.row(WORDS["hidden"]), 1.0)
        assert list(shown.too_mild()) == []

    def test_a_trouble_goes_on_until_it_is_told_or_was_felt_for_too_long(self) -> None:
        told, ignored = clocks = [self.clock(kind) for kind in ("full", "hidden")]
        shown = Shown(lambda _: True, clocks, list(clocks))
        assert [shown.undecided(each.trouble) for each in clocks] == [True, True]
        told.look(self.row(WORDS["full"]), 1.0)
        ignored.look(self.row(), SHOWN_SECONDS)
        assert [shown.undecided(each.trouble) for each in clocks] == [False, True]
        ignored.look(self.row(), 0.1)
        assert not shown.undecided(ignored.trouble)
        assert ignored.verdict

    def test_too_late(self) -> None:
        clock = self.clock("full")
        clock.look(self.row(), SHOWN_SECONDS)
        clock.look(self.row(WORDS["full"]), 1.0)
        assert "shown only after 11.0 s" in clock.verdict


class TestRareStates:
    def test_what_never_occurred_is_too_mild(self) -> None:
        found = Counter({each: 1 for each in states.ALL if each != states.LEASE})
        assert states.too_mild(found, states.ALL) == [f"too mild: never a {states.LEASE}"]

    def test_only_what_the_faults_of_a_seed_lead_to_is_expected(self) -> None:
        for seed in range(20):
            plan = Plan(seed=seed, users=60, kills=9, redis_restarts=2, both_outages=False)
            assert (states.HELD in states.expected(plan)) == ("idle" in plan.troubles)
            assert (states.HALVED in states.expected(plan)) == ("narrow" in plan.troubles)
            assert {states.LEASE, states.BACK, states.HANDED} <= {*states.expected(plan)}

    def test_what_was_put_back_while_its_database_was_away_is_no_time_slice(self) -> None:
        rows = [(states.HANDED, "blog_db", None, at) for at in (1.0, 5.0)]
        windows = [("blog_db", 4.0, 6.0), ("shop_db", 0.0, 2.0)]
        assert states.counted(rows, windows, ()) == {states.HANDED: 1}

    def test_who_came_back_and_lost_everything_is_not_counted(self) -> None:
        rows = [(states.BACK, "blog_db", key, 1.0) for key in ("1", "2")]
        assert states.counted(rows, (), {2}) == {states.BACK: 1}


class TestTheSwarm:
    def plans(self) -> list[Plan]:
        return [
            Plan(seed=seed, users=60, kills=9, redis_restarts=2, both_outages=bool(seed % 2))
            for seed in range(40)
        ]

    def test_a_seed_makes_the_same_decisions_again(self) -> None:
        for plan, again in zip(self.plans(), self.plans(), strict=True):
            assert plan.faults == again.faults
            assert (plan.left_out, plan.renames) == (again.left_out, again.renames)

    def test_each_leaves_something_out_and_together_they_leave_out_nothing(self) -> None:
        plans = self.plans()
        kinds = [{fault.kind for fault in plan.faults} for plan in plans]
        assert all({*TROUBLES} - found for found in kinds)
        assert set().union(*kinds) >= {*TROUBLES, "stop", "freeze", "redis-kill", "redis-stop"}
        assert len({frozenset(plan.left_out) for plan in plans}) > len(plans) // 3
        assert {plan.renames for plan in plans} == {True, False}

    def test_what_is_left_out_does_not_happen(self) -> None:
        for plan in self.plans():
            happens = {fault.kind for fault in plan.faults} | {
                fault.target for fault in plan.faults if fault.kind == "kill"
            }
            assert not happens & {*plan.left_out}

    def test_a_trouble_ends_before_the_next_one_and_before_the_tail(self) -> None:
        for plan in self.plans():
            for alias in ("blog_db", "shop_db"):
                found = [
                    fault
                    for fault in plan.faults
                    if fault.kind in TROUBLES and fault.target == alias
                ]
                ends = [fault.at + fault.seconds for fault in found]
                if plan.both_outages:  # a quick one's go on until they are told
                    assert all(fault.seconds > SHOWN_SECONDS for fault in found)
                assert all(end < each.at for end, each in zip(ends, found[1:], strict=False))
                assert ends[-1] <= plan.seconds


def test_a_trouble_of_the_parents_holds_up_both_databases() -> None:
    fault: Any = SimpleNamespace(kind="hidden", target="blog_db", pick=0.1)
    assert Trouble(fault, {}).hides_parents
