"""Beat's ticks, alone: orphans are found and, where the settings say so, healed by themselves."""

from __future__ import annotations

import dataclasses
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.db import connections
from django.utils import timezone

from apps.integrity import relations
from apps.integrity.control import actions
from apps.integrity.exceptions import TaskFailed, UnknownName
from apps.integrity.models import Cascade, ChildDatabase, Scan, Suspect
from apps.integrity.queues import celery, dispatch
from apps.integrity.relations import discovery
from apps.integrity.report import scans
from sandbox.processes import eventually
from tests import log_rows
from tests.kinds.left.models import Book, Optional
from tests.kinds.parents.models import Library, Owner
from tests.kinds.right.models import BookNote, Leaf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Task

    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

LEAF, OPTIONAL = "right.Leaf.owner", "left.Optional.owner"
#: The relations of tests that let beat run until something has happened.
FEW = {LEAF, OPTIONAL, "left.Book.library", "right.BookNote.book"}
#: What beat starts.
TICKS = (celery.dispatch_deletions, celery.scan_for_orphans, celery.maintain)


class Broker:
    """Messages that were published and not delivered yet: a task and an alias, never a key."""

    def __init__(self) -> None:
        self.messages: list[tuple[Task[..., None], str]] = []

    def publish(self, task: Task[..., None], alias: str) -> None:
        self.messages.append((task, alias))

    def deliver(self) -> None:
        """All of them, and what they publish."""
        for _ in range(1_000):
            if not self.messages:
                return
            task, alias = self.messages.pop(0)
            run(task, alias)
        raise AssertionError("1,000 messages, and no end")

    def woken(self, task: Task[..., None]) -> list[str]:
        found = [alias for each, alias in self.messages if each.name == task.name]
        self.messages.clear()
        return found


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    monkeypatch.setattr(celery, "_publish", broker.publish)
    return broker


@pytest.fixture
def beat(broker: Broker) -> Callable[[], None]:
    """Everything that beat starts, once, and what follows from it."""

    def once() -> None:
        for tick in TICKS:
            run(tick)
            broker.deliver()

    return once


@pytest.fixture(autouse=True)
def soon(tune: Tune, committed: None) -> None:
    tune(grace_seconds=0.001, scan_period_seconds=0.001)
    Owner.objects.create()


@pytest.fixture
def healing(tune: Tune, soon: None) -> Tune:
    """Set keys beside the policy "repair"."""

    def with_values(**values: object) -> None:
        tune(
            **{
                "grace_seconds": 0.001,
                "scan_period_seconds": 0.001,
                "scan_policy": "repair",
                **values,
            }
        )

    with_values()
    return with_values


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A project with four relations in two child databases: a round of beat asks all of them."""
    known = tuple(each for each in relations.discover().relations if each.label in FEW)
    assert len(known) == len(FEW)
    monkeypatch.setattr(discovery, "_known", [relations.Catalogue(known)])


def run(task: Any, *args: Any) -> None:
    """As a worker would, in this process; raises what the task raises."""
    task.apply(args=args, throw=True)


def orphaned(number: int = 3, child: Any = Leaf) -> list[int]:
    """A row each for owners that are gone without a trace; gives the owners' keys."""
    owners = Owner.objects.bulk_create(Owner() for _ in range(number))
    child.objects.bulk_create(child(owner=each) for each in owners)
    Owner.objects.filter(pk__in=[each.pk for each in owners])._raw_delete("default")
    return [each.pk for each in owners]


def states() -> set[str]:
    """The states of deletions, and "suspect" where there are suspects."""
    return {*log_rows.states(), *(["suspect"] if Suspect.objects.exists() else [])}


@pytest.mark.usefixtures("few")
class TestBeatAlone:
    def test_with_the_policy_repair_it_heals_by_itself(
        self, healing: Tune, beat: Callable[[], None]
    ) -> None:
        living = Leaf.objects.create(owner=Owner.objects.create())
        orphaned()
        orphaned(2, Optional)

        def healed() -> bool:
            beat()
            return Leaf.objects.count() + Optional.objects.count() == 1

        assert eventually(healed, timeout=60)
        assert Leaf.objects.get() == living
        assert eventually(lambda: beat() or states() == {"verified"}, timeout=60)

    def test_with_the_policy_report_it_never_does(self, beat: Callable[[], None]) -> None:
        orphaned()
        for _ in range(4):
            beat()
        assert states() == {"suspect"}
        assert Leaf.objects.count() == 3

    def test_each_relation_has_its_own_policy(self, tune: Tune, beat: Callable[[], None]) -> None:
        tune(grace_seconds=0.001, scan_period_seconds=0.001, scan_policy={OPTIONAL: "repair"})
        orphaned()
        orphaned(2, Optional)
        assert eventually(lambda: beat() or not Optional.objects.exists(), timeout=60)
        for _ in range(3):
            beat()
        assert Leaf.objects.count() == 3
        assert len(log_rows.suspected(LEAF)) == 3

    def test_a_chain_of_databases_is_healed_link_by_link(
        self, healing: Tune, beat: Callable[[], None]
    ) -> None:
        Library.objects.create()
        book = Book.objects.create(library_id=999_999)
        BookNote.objects.create(book=book)
        assert eventually(
            lambda: beat() or not (Book.objects.exists() or BookNote.objects.exists()), timeout=60
        )

    def test_whatever_is_raw_deleted_between_two_ticks_is_gone_in_the_end(
        self, healing: Tune, beat: Callable[[], None]
    ) -> None:
        healing(scan_step_keys_max=2, scan_seconds=0.000_001)
        living = [Leaf.objects.create(owner=Owner.objects.create()) for _ in range(3)]
        for _ in range(4):
            orphaned(2)
            beat()
        assert eventually(lambda: beat() or Leaf.objects.count() == 3, timeout=60)
        assert list(Leaf.objects.order_by("pk")) == living

    def test_a_parent_in_an_open_transaction_keeps_its_rows(
        self, healing: Tune, beat: Callable[[], None]
    ) -> None:
        other = connections["default"].copy()
        try:
            other.set_autocommit(False)
            with other.cursor() as cursor:
                cursor.execute("INSERT INTO parents_owner (name) VALUES ('') RETURNING id")
                leaf = Leaf.objects.create(owner_id=cursor.fetchone()[0])
                for _ in range(4):
                    beat()
                assert states() == {"suspect"}
                other.commit()
        finally:
            other.close()
        assert eventually(lambda: beat() or states() == set(), timeout=60)
        assert Leaf.objects.get() == leaf


class TestTick:
    def test_it_wakes_each_child_database_that_is_due_once(self, broker: Broker) -> None:
        run(celery.scan_for_orphans)
        woken = broker.woken(celery.scan_for_orphans)
        assert sorted(woken) == sorted(set(woken))
        assert set(woken) == set(relations.catalogue().child_databases)

    def test_it_wakes_none_that_is_not_due(self, broker: Broker, tune: Tune) -> None:
        tune(scan_period_seconds=3600, scan_seconds=60)
        for database in relations.catalogue().child_databases:
            run(celery.scan_for_orphans, database)
        run(celery.scan_for_orphans)
        assert broker.woken(celery.scan_for_orphans) == []

    def test_it_spends_its_time_and_the_next_one_goes_on(self, tune: Tune) -> None:
        tune(scan_seconds=0.000_001, scan_step_keys_max=1)
        orphaned(3)

        def of_the_leaf() -> tuple[int, bool]:
            run(celery.scan_for_orphans, "test_right")
            row = Scan.objects.filter(relation=LEAF).first()
            return (row.keys, row.finished_at is not None) if row else (0, False)

        seen: list[tuple[int, bool]] = []
        assert eventually(lambda: seen.append(of_the_leaf()) or seen[-1][1], timeout=60)
        keys = [keys for keys, _ in seen]
        assert keys == sorted(keys)
        assert {1, 2, 3} <= set(keys)

    def test_a_paused_database_is_left_alone(self) -> None:
        orphaned()
        for using in relations.catalogue().log_databases:
            actions.pause("test_right", actor="me", reason="a migration", using=using)
        run(celery.scan_for_orphans, "test_right")
        assert states() == set()

    def test_a_database_that_is_down_is_noted_and_the_others_are_scanned(
        self, broker: Broker, refuse: Callable[[str], Any]
    ) -> None:
        orphaned()
        with refuse("blog_db"):
            run(celery.scan_for_orphans)
            broker.deliver()
        assert ChildDatabase.objects.get(alias="blog_db").unreachable_since
        assert states() == {"suspect"}

    def test_two_beats_do_the_work_of_one(self, at_once: Callable[..., Any]) -> None:
        keys = orphaned(5)
        run(celery.scan_for_orphans, "test_right")
        Suspect.objects.all().delete()
        Scan.objects.update(covers_at="2020-01-01T00:00Z", began_at=None)

        def tick() -> None:
            run(celery.scan_for_orphans, "test_right")

        at_once(tick, tick)
        assert Suspect.objects.count() == len(keys)

    def test_a_forged_message_names_no_victim(self) -> None:
        orphaned()
        for argument in ("default", "nowhere", 1, [1]):
            with pytest.raises((UnknownName, TaskFailed)):
                run(celery.scan_for_orphans, argument)
        assert Leaf.objects.count() == 3
        assert states() == set()


class TestMaintain:
    @pytest.fixture
    def two_homes(self, committed: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Owners live in `default` and in `shop_db`, where a worker may not reach them."""
        changed = tuple(
            dataclasses.replace(each, parent_databases=("default", "test_left"))
            if each.label == LEAF
            else each
            for each in relations.discover().relations
        )
        with connections["test_left"].schema_editor() as editor:
            editor.create_model(Owner)
        monkeypatch.setattr(discovery, "_known", [relations.Catalogue(changed)])
        yield
        connections["test_left"].close()
        with connections["test_left"].schema_editor() as editor:
            editor.delete_model(Owner)

    def test_a_database_of_parents_that_is_down_keeps_nothing_else_from_being_done(
        self, healing: Tune, broker: Broker, two_homes: None, refuse: Callable[[str], Any]
    ) -> None:
        orphaned(1)
        run(celery.scan_for_orphans, "test_right")
        assert states() == {"suspect"}
        owner = Owner.objects.create()
        owner.delete()
        dispatch.sweep("default")
        now = timezone.now()
        Cascade.objects.update(state="done", done_at=now, due_at=now)
        with refuse("test_left"):
            run(celery.maintain)
        assert "test_right" in broker.woken(celery.verify_in)
        assert "suspect" in states()

    @pytest.mark.usefixtures("few")
    def test_a_brake_that_refuses_is_told(
        self, healing: Tune, beat: Callable[[], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        """G11: nobody reads the result of a task; so the log says it, and so does the status."""
        orphaned()
        Owner.objects.all()._raw_delete("default")
        with caplog.at_level(logging.WARNING, "integrity"):
            for _ in range(2):
                beat()
        assert Leaf.objects.count() == 3
        assert states() == {"suspect"}
        assert "the parent's table is empty" in caplog.text
        [row] = [each for each in scans.scan_rows() if each["relation"] == LEAF]
        assert row["brake"] == "the parent's table is empty"

    def test_a_suspect_that_nobody_understands_keeps_no_tick_from_its_work(
        self, healing: Tune, broker: Broker
    ) -> None:
        Suspect.objects.create(parent="parents.Owner", relation=LEAF, value="x-1")
        owner = Owner.objects.create()
        owner.delete()
        dispatch.sweep("default")
        now = timezone.now()
        Cascade.objects.update(state="done", done_at=now, due_at=now)
        run(celery.maintain)
        assert "test_right" in broker.woken(celery.verify_in)

    def test_a_log_that_is_down_keeps_the_others_from_nothing(
        self, healing: Tune, broker: Broker, refuse: Callable[[str], Any]
    ) -> None:
        orphaned(1)
        run(celery.scan_for_orphans, "test_right")
        with refuse("test_left"):
            assert eventually(lambda: run(celery.maintain) or states() == {"recorded"}, timeout=60)

    def test_a_time_limit_in_a_tick_gives_the_scan_back(self, broker: Broker) -> None:
        orphaned(3)
        run(celery.scan_for_orphans, "test_right")
        with limited("test_right"):
            run(celery.scan_for_orphans, "test_right")
        assert not Scan.objects.exclude(claim=None).exists()
        ChildDatabase.objects.update(probe_at=timezone.now())
        before = Scan.objects.get(relation=LEAF).finished_at
        run(celery.scan_for_orphans, "test_right")
        assert Scan.objects.get(relation=LEAF).finished_at > before


@contextmanager
def limited(alias: str) -> Iterator[None]:
    """A task's time limit strikes at the first key that is asked for."""

    def strike(execute: Any, sql: str, *args: Any) -> Any:
        if "array_agg" in sql:
            raise SoftTimeLimitExceeded
        return execute(sql, *args)

    with connections[alias].execute_wrapper(strike):
        yield
