"""Attacks on the cascade: parents that come back, keys that come twice, turns that break off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections
from django.utils import timezone

from apps.integrity import cascade, failpoints
from apps.integrity.cascade import verification
from apps.integrity.failpoints import Failpoint
from apps.integrity.models import Cascade, ChildDatabase, Deletion
from apps.integrity.queues import dispatch
from tests.collated import collated
from tests.kinds.left.models import Badge, Event, Invoice, Nulled, Shelf, Vault, WordUse
from tests.kinds.lite.models import Note, Reading
from tests.kinds.parents.models import (
    Beacon,
    Giver,
    Mixed,
    Owner,
    Person,
    Root,
    Safe,
    Station,
    Word,
)
from tests.kinds.right.models import Leaf
from tests.log_rows import cascade_states, check_partitions, in_database

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from tests.conftest import Tune

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")


class TimeLimit(Exception):
    pass


def after_a_step(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let `act` happen after each commit, before anything else is looked at."""

    def reached(phase: Failpoint) -> None:
        if phase is Failpoint.REMOVAL_COMMITTED:
            act()

    monkeypatch.setattr(failpoints, "hit", reached)


KINDS = {
    "a leaf": (Owner, Leaf, "owner_id", "test_right"),
    "an update": (Giver, Nulled, "giver_id", "test_left"),
    "SQLite": (Mixed, Note, "mixed_id", "test_lite"),
    "text": (Word, WordUse, "word_id", "test_left"),
    "a declared column": (Station, Event, "station_key", "test_left"),
    "Django's Collector": (Safe, Vault, "safe_id", "test_left"),
    "a tree": (Root, Shelf, "root_id", "test_left"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [1, 2])
def test_a_parent_that_comes_back_between_two_steps(
    monkeypatch: pytest.MonkeyPatch, tune: Tune, kind: str, number: int
) -> None:
    parent, child, name, database = KINDS[kind]
    tune(statement_rows=4, statement_rows_max=4)
    gone = parent.objects.create()
    key = gone.pk
    for _ in range(40):
        child.objects.create(**{name: key})
    gone.delete()
    dispatch.sweep("default")
    left: list[Any] = []

    def come_back() -> None:
        rows = child.objects.filter(**{name: key})
        if left or rows.count() > 40 - 4 * number:
            return
        left.extend(rows.values_list("pk", flat=True))
        parent.objects.create(pk=key)
        left.extend(child.objects.create(**{name: key}).pk for _ in range(3))

    after_a_step(monkeypatch, come_back)
    cascade.drain(database)
    assert 3 < len(left) < 43
    assert set(child.objects.filter(**{name: key}).values_list("pk", flat=True)) == set(left)
    assert Cascade.objects.get(database=database).state == "kept"
    [deletion] = Deletion.objects.all()
    assert sum(in_database(deletion, database).kept.values()) == len(left)


@pytest.mark.parametrize("rows", [0, 1])
def test_a_parent_that_comes_back_after_the_last_step(
    monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    gone = Owner.objects.create()
    key = gone.pk
    Leaf.objects.create(owner_id=key)
    gone.delete()
    dispatch.sweep("default")

    def come_back() -> None:
        if Owner.objects.get_or_create(pk=key)[1]:
            Leaf.objects.bulk_create(Leaf(owner_id=key) for _ in range(rows))

    after_a_step(monkeypatch, come_back)
    done = cascade.drain("test_right")
    assert (done.kept, done.finished) == (1, 0)
    assert Leaf.objects.count() == rows


class TestAKeyDeletedTwice:
    def twice(self, rows: int) -> int:
        """Two deletions of one key, which are in one claim; gives the key."""
        first = Owner.objects.create()
        key = first.pk
        Leaf.objects.bulk_create(Leaf(owner=first) for _ in range(rows))
        first.delete()
        Owner.objects.create(pk=key).delete()
        dispatch.sweep("default")
        return key

    def states(self) -> set[str]:
        return set(Cascade.objects.filter(database="test_right").values_list("state", flat=True))

    def test_neither_is_done_while_rows_are_left(self, tune: Tune) -> None:
        tune(statement_rows=1, statement_rows_max=1, turn_seconds=0.0001)
        self.twice(rows=5)
        cascade.drain("test_right", seconds=0)
        assert self.states() == {"pending"}

    def test_neither_is_proven_while_a_late_row_is_there(self, converge: Converge) -> None:
        key = self.twice(rows=1)
        converge()
        Leaf.objects.create(owner_id=key)
        Cascade.objects.update(due_at=timezone.now())
        assert verification.verify("test_right").reopened == 2
        assert self.states() == {"pending"}


class TestValuesOfAnotherField:
    def test_one_that_is_taken_over_between_two_steps(
        self, monkeypatch: pytest.MonkeyPatch, tune: Tune
    ) -> None:
        """Its rows are the new parent's; those of the other fields go all the same."""
        tune(statement_rows=2, statement_rows_max=2)
        gone = Person.objects.create(code="x", number=1)
        Badge.objects.bulk_create(Badge(person_id="x") for _ in range(6))
        Invoice.objects.bulk_create(Invoice(person_id=1) for _ in range(6))
        gone.delete()
        dispatch.sweep("default")

        def take_over() -> None:
            if not Person.objects.exists():
                Person.objects.create(code="x", number=2)
                Badge.objects.create(person_id="x")

        after_a_step(monkeypatch, take_over)
        done = cascade.drain("test_left")
        assert (done.finished, done.kept) == (1, 0)
        assert in_database(Deletion.objects.get(), "test_left").kept == {"left.Badge.person": 5}
        assert done.rows == {"left.Badge.person": 2, "left.Invoice.person": 6}
        assert (Badge.objects.count(), Invoice.objects.count()) == (5, 0)


@pytest.fixture
def nocase() -> Iterator[None]:
    """SQLite takes texts of that column for equal that Python and the parents do not."""
    with collated(Reading, "beacon_text", "NOCASE", using="test_lite"):
        yield


def test_texts_that_only_a_collation_takes_for_a_key_are_kept_and_told(nocase: None) -> None:
    beacon = Beacon.objects.create()
    text = str(beacon.pk)
    for each in (text, text.upper()):
        Reading.objects.create(station_key=0, beacon_text=each)
    beacon.delete()
    dispatch.sweep("default")
    done = cascade.drain("test_lite", seconds=5)
    assert (done.failed, done.rows) == (1, {})
    row = Cascade.objects.get(database="test_lite")
    assert (row.state, row.attempts) == ("waiting", 1)
    assert row.reason.startswith("InvalidKey: lite.Reading.beacon_text: rows hold keys that equal")
    assert text not in row.reason.lower()
    assert Reading.objects.count() == 2
    Reading.objects.update(beacon_text=text)
    Cascade.objects.update(due_at=timezone.now())
    assert cascade.drain("test_lite").rows == {"lite.Reading.beacon_text": 2}


def test_rows_counted_before_a_failure_are_kept_for_the_half_that_was_not_begun(
    tune: Tune, converge: Converge
) -> None:
    tune(statement_rows=2, statement_rows_max=2)
    first, second = Owner.objects.create(), Owner.objects.create()
    keys = [first.pk, second.pk]
    Leaf.objects.bulk_create(Leaf(owner=first) for _ in range(3))
    Leaf.objects.bulk_create(Leaf(owner=second) for _ in range(4))
    Owner.objects.all().delete()
    dispatch.sweep("default")
    # All rows at once are too many, so some are taken; then the next step fails, and once more,
    # because others have gone; then a half of it.
    strikes = iter([None, None, RuntimeError, RuntimeError, TimeLimit])

    def strike(execute: Any, sql: str, *rest: Any) -> Any:
        if "DELETE" in sql and (error := next(strikes)):
            raise error
        return execute(sql, *rest)

    with connections["test_right"].execute_wrapper(strike):
        cascade.drain("test_right", interruptions=(TimeLimit,))
    rows = Cascade.objects.filter(database="test_right").order_by("pk")
    assert cascade_states(database="test_right", claim=None) == ["pending"] * 2
    check_partitions()
    kept = [changed for row in rows for changed in (row.rows or {}).values()]
    assert sum(row.get("right.Leaf.owner", 0) for row in kept) == 2
    ChildDatabase.objects.update(probe_at=timezone.now())
    assert converge() == {"right.Leaf.owner": 5}
    done = [in_database(key, "test_right").rows["right.Leaf.owner"] for key in keys]
    assert done == [3, 4]
