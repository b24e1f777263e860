"""Many databases at once: what is empty is closed by one look, and all else is left as it was."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections, transaction
from django.utils import timezone

from apps.integrity import cascade
from apps.integrity.cascade import first_look, verification
from apps.integrity.control import actions
from apps.integrity.log import deletions as log_deletions
from apps.integrity.log import joint
from apps.integrity.models import Cascade, Identity
from apps.integrity.queues import dispatch
from sandbox.processes import eventually
from tests import log_rows
from tests.kinds.lite.models import Reading
from tests.kinds.parents.models import Guarded, Owner, Station
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Captured

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")

LEFT, RIGHT = "test_left", "test_right"
BOTH = {LEFT, RIGHT}
#: What a claim changes.
COLUMNS = ("database", "state", "attempts", "claim", "reason", "rows")


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_look, "DATABASES_MIN", 2)


@pytest.fixture(autouse=True)
def _met(converge: Converge) -> None:
    """The databases know their parents, which a first look does not teach them."""
    for parent in (Owner, Station):
        parent.objects.create().delete()
    converge()
    Cascade.objects.all().delete()


def deleted(number: int = 1) -> list[int]:
    """Delete owners, dispatch, and return their keys."""
    owners = [Owner.objects.create() for _ in range(number)]
    keys = [owner.pk for owner in owners]
    for owner in owners:
        owner.delete()
    list(dispatch.fan_out("default"))
    return keys


def states() -> dict[str, str]:
    return dict(Cascade.objects.values_list("database", "state"))


def all_due() -> None:
    Cascade.objects.update(due_at=timezone.now())


@contextmanager
def transaction_of_another(alias: str) -> Iterator[Any]:
    other = connections[alias].copy()
    try:
        other.set_autocommit(False)
        yield other
    finally:
        other.close()


class TestEmpty:
    def test_all_are_done_and_then_verified(self) -> None:
        deleted()
        assert first_look.close_empty(BOTH, using="default") == frozenset()
        assert states() == dict.fromkeys(BOTH, "done")
        for row in Cascade.objects.all():
            assert (row.barrier is not None, bool(row.barrier_server)) == (True, True)
            assert (row.attempts, row.claim, row.rows) == (1, None, None)
            assert row.due_at is not None
            assert row.done_at is not None
        all_due()
        assert first_look.verify_empty(BOTH, using="default") == frozenset()
        assert states() == dict.fromkeys(BOTH, "verified")
        [deletion] = log_rows.deletions_in("verified")
        assert deletion.verified_at is not None

    def test_many_batches_share_the_look(self, captured: Captured) -> None:
        for _ in range(3):
            deleted(2)
        with captured:
            assert first_look.close_empty(BOTH, using="default") == frozenset()
        assert Cascade.objects.filter(state="done").count() >= 6
        assert len(captured["default"]) < 30

    def test_on_engines_without_barriers(self) -> None:
        Station.objects.create().delete()
        list(dispatch.fan_out("default"))
        databases = {LEFT, "test_lite"}
        assert first_look.close_empty(databases, using="default") == frozenset()
        all_due()
        assert first_look.verify_empty(databases, using="default") == frozenset()
        assert states() == dict.fromkeys(databases, "verified")

    def test_few_databases_are_left_to_their_workers(
        self, monkeypatch: pytest.MonkeyPatch, captured: Captured
    ) -> None:
        monkeypatch.setattr(first_look, "DATABASES_MIN", 3)
        deleted()
        with captured:
            assert first_look.close_empty(BOTH, using="default") == BOTH
        assert not captured["default"]


class TestLeftAsItWas:
    @pytest.fixture
    def before(self) -> list[tuple[Any, ...]]:
        deleted()
        return list(Cascade.objects.order_by("database").values_list(*COLUMNS))

    def check(self, before: list[tuple[Any, ...]], *databases: str) -> None:
        """Look, and find those databases as they were, and due."""
        assert first_look.close_empty(BOTH, using="default") == {*databases}
        rows = Cascade.objects.filter(database__in=databases).order_by("database")
        assert list(rows.values_list(*COLUMNS)) == [row for row in before if row[0] in databases]

    def test_a_database_with_rows(self, converge: Converge) -> None:
        owner = Owner.objects.create()
        Leaf.objects.create(owner_id=owner.pk)
        owner.delete()
        list(dispatch.fan_out("default"))
        before = list(Cascade.objects.order_by("database").values_list(*COLUMNS))
        self.check(before, RIGHT)
        assert states()[LEFT] == "done"
        assert Leaf.objects.count() == 1
        assert converge() == {"right.Leaf.owner": 1}

    def test_a_row_in_another_engine(self, converge: Converge) -> None:
        station = Station.objects.create()
        Reading.objects.create(station_key=station.pk)
        station.delete()
        list(dispatch.fan_out("default"))
        databases = {LEFT, "test_lite"}
        assert first_look.close_empty(databases, using="default") == {"test_lite"}
        assert converge()["lite.Reading.station_key"] == 1

    @pytest.mark.parametrize("parent", [Guarded._meta.label, "parents.Renamed"])
    def test_a_cascade_that_no_relation_leads(self, parent: str) -> None:
        """Nothing would be looked at: its policies leave rows alone, or its name is unknown."""
        log_rows.make(parent, [1], [LEFT, RIGHT], due_at=timezone.now())
        log_rows.make(
            parent, [2], [LEFT, RIGHT], state="done", done_at=timezone.now(), due_at=timezone.now()
        )
        first_look.close_empty(BOTH, using="default")
        first_look.verify_empty(BOTH, using="default")
        assert Counter(Cascade.objects.values_list("state", flat=True)) == {"pending": 2, "done": 2}

    def test_a_parent_that_is_back(self) -> None:
        [key] = deleted()
        before = list(Cascade.objects.order_by("database").values_list(*COLUMNS))
        Owner.objects.create(pk=key)
        self.check(before, *BOTH)

    def test_a_paused_database(self, before: list[tuple[Any, ...]]) -> None:
        actions.pause(RIGHT, actor="ann", reason="", using="default")
        self.check(before, *BOTH)  # one is not many

    def test_a_database_of_other_parents(self, before: list[tuple[Any, ...]]) -> None:
        Identity.objects.using(RIGHT).filter(alias="default").update(uuid=uuid.uuid4())
        self.check(before, RIGHT)

    def test_a_database_that_knows_no_parents(self, before: list[tuple[Any, ...]]) -> None:
        Identity.objects.using(RIGHT).all().delete()
        self.check(before, RIGHT)

    def test_a_caller_inside_a_transaction(self, before: list[tuple[Any, ...]]) -> None:
        with transaction.atomic(using=LEFT):
            self.check(before, *BOTH)

    def test_a_database_that_raises(
        self, before: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refused(live: Any) -> bool:
            raise ZeroDivisionError(live)

        monkeypatch.setattr(first_look, "_has_rows", refused)
        self.check(before, *BOTH)

    def test_a_database_that_does_not_answer(
        self, before: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The other one is closed; the silent one is not asked again while the look lasts."""
        asked, answers, has_rows = list[str](), threading.Event(), first_look._has_rows

        def silent(live: Any) -> bool:
            asked.append(live.claim.database)
            if live.claim.database == RIGHT:
                answers.wait(30)
            return has_rows(live)

        monkeypatch.setattr(first_look, "_has_rows", silent)
        monkeypatch.setattr(first_look, "LOOK_SECONDS", 1.0)
        try:
            self.check(before, RIGHT)
            assert states()[LEFT] == "done"
            asked.clear()
            deleted()
            first_look.close_empty(BOTH, using="default")
            assert not asked
        finally:
            answers.set()
        assert eventually(lambda: not first_look._under_way, timeout=10)

    def test_what_was_cancelled_meanwhile(self, monkeypatch: pytest.MonkeyPatch) -> None:
        deleted()
        [pk] = [row.pk for row in log_rows.deletions_in("dispatched")]
        has_rows = first_look._has_rows

        def cancelled(live: Any) -> bool:
            log_deletions.cancel([pk], "a test", using="default")
            connections["default"].close()  # that of this thread
            return has_rows(live)

        monkeypatch.setattr(first_look, "_has_rows", cancelled)
        assert first_look.close_empty(BOTH, using="default") == frozenset()
        assert states() == dict.fromkeys(BOTH, "cancelled")

    def test_of_a_process_that_died(self, before: list[tuple[Any, ...]]) -> None:
        """Its lease ends, and the workers do the rest."""
        assert joint.claim(BOTH, using="default", lease_seconds=0.001).keys() == BOTH
        assert eventually(lambda: cascade.drain(LEFT).finished == 1, timeout=10)
        assert cascade.drain(RIGHT).finished == 1
        assert states() == dict.fromkeys(BOTH, "done")

    def test_of_a_claim_that_another_worker_has_by_now(self, before: list[tuple[Any, ...]]) -> None:
        parts = joint.claim(BOTH, using="default", lease_seconds=0.001)
        Cascade.objects.update(claim=uuid.uuid4())
        held = list(Cascade.objects.order_by("database").values())
        joint.put_back(parts)
        assert joint.finish(parts, dict.fromkeys(parts)) == {}
        assert list(Cascade.objects.order_by("database").values()) == held


class TestProof:
    def test_it_waits_for_every_transaction_that_was_open(self, converge: Converge) -> None:
        """G9: a row that was inserted before the look, and is committed after it, is found."""
        owner = Owner.objects.create()
        with transaction_of_another(RIGHT) as other:
            with other.cursor() as cursor:
                cursor.execute("INSERT INTO right_leaf (owner_id) VALUES (%s)", [owner.pk])
            owner.delete()
            list(dispatch.fan_out("default"))
            assert first_look.close_empty(BOTH, using="default") == frozenset()
            all_due()
            assert RIGHT in first_look.verify_empty(BOTH, using="default")
            assert states()[RIGHT] == "done"
            other.commit()
        all_due()
        first_look.verify_empty(BOTH, using="default")
        assert states()[RIGHT] == "done"
        assert eventually(lambda: verification.verify(RIGHT).reopened == 1, timeout=30)
        assert converge() == {"right.Leaf.owner": 1}

    def test_it_waits_for_the_grace_period(self) -> None:
        deleted()
        first_look.close_empty(BOTH, using="default")
        Cascade.objects.update(due_at=timezone.now() + dt.timedelta(seconds=60))
        first_look.verify_empty(BOTH, using="default")
        assert states() == dict.fromkeys(BOTH, "done")

    def test_a_barrier_of_another_server_is_left_to_its_workers(self) -> None:
        deleted()
        first_look.close_empty(BOTH, using="default")
        Cascade.objects.filter(database=RIGHT).update(barrier_server="another")
        all_due()
        assert first_look.verify_empty(BOTH, using="default") == {RIGHT}
        assert states() == {LEFT: "verified", RIGHT: "done"}

    def test_what_lost_rows_before_is_left_to_its_workers(self) -> None:
        deleted()
        first_look.close_empty(BOTH, using="default")
        [pk] = [row.pk for row in log_rows.deletions_in("cascaded")]
        Cascade.objects.filter(database=RIGHT).update(rows={str(pk): {"right.Leaf.owner": 1}})
        all_due()
        assert first_look.verify_empty(BOTH, using="default") == BOTH

    def test_a_part_that_was_split_off_is_left_to_its_workers(self) -> None:
        """Only one of the two parts of a batch was looked at."""
        deleted(2)
        first_look.close_empty(BOTH, using="default")
        whole = Cascade.objects.get(database=RIGHT)
        first, second = whole.deletions
        rows = {str(second): {"right.Leaf.owner": 1}}
        Cascade.objects.filter(pk=whole.pk).update(deletions=[first], size=1)
        whole.pk, whole.deletions, whole.size, whole.rows = None, [second], 1, rows
        whole.save(force_insert=True)
        all_due()
        assert first_look.verify_empty(BOTH, using="default") == {RIGHT}
        parts = Cascade.objects.filter(database=RIGHT).order_by("pk")
        assert list(parts.values_list("state", flat=True)) == ["verified", "done"]

    def test_what_was_reopened_meanwhile_is_left_to_its_workers(self) -> None:
        deleted()
        first_look.close_empty(BOTH, using="default")
        all_due()
        parts = joint.due_done(BOTH, using="default")
        Cascade.objects.filter(database=LEFT).update(state="pending", done_at=None)
        later = timezone.now() + dt.timedelta(seconds=1)
        Cascade.objects.filter(database=RIGHT).update(done_at=later)
        assert joint.verify(parts) == 0
