"""The scan finds every orphan and names no living row; what it found takes the one path."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from django.db import OperationalError, connections, models, transaction
from django.utils import timezone

from apps.integrity import relations, scan
from apps.integrity.backends.mysql.keys import MySQLKeys
from apps.integrity.backends.portable.keys import PortableKeys
from apps.integrity.backends.postgresql.keys import PostgreSQLKeys
from apps.integrity.models import Audit, Deletion, Scan
from apps.integrity.report import scans
from apps.integrity.scan import repair, scan_pass
from apps.integrity.signals import orphan_found
from tests import log_rows
from tests.kinds.left.models import Optional
from tests.kinds.lite.models import Line, Note
from tests.kinds.parents.models import Account, Owner, Tenant
from tests.kinds.right.models import Leaf

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

    from tests.conftest import Captured, Tune

    Converge = Callable[[], Counter[str]]

pytestmark = pytest.mark.usefixtures("committed")

LEAF = "right.Leaf.owner"
ON_MYSQL = pytest.mark.skipif(
    connections["default"].vendor != "mysql", reason="about the keys of MySQL and MariaDB"
)


def run(database: str = "test_right", **options: Any) -> dict[str, scan.Scanned]:
    mode = scan.Mode(full=options.pop("full", False), throttled=options.pop("throttled", False))
    found, unreachable = scan.scan(database, mode=mode, **{"seconds": 60, **options})
    assert not unreachable
    return {each.relation: each for each in found}


def one(label: str = LEAF, database: str = "test_right", **options: Any) -> scan.Scanned:
    """Scan one relation there; what is seen of it."""
    return run(database, labels=[label], **options)[label]


def orphaned(number: int = 3) -> list[int]:
    """Leaves whose owners are gone without a trace; gives the owners' keys."""
    owners = Owner.objects.bulk_create(Owner() for _ in range(number))
    Leaf.objects.bulk_create(Leaf(owner=each) for each in owners for _ in range(2))
    keys = [each.pk for each in owners]
    Owner.objects.filter(pk__in=keys)._raw_delete("default")
    return keys


def suspects() -> list[str]:
    return log_rows.suspected()


def relation(label: str = LEAF) -> relations.Relation:
    return relations.catalogue().relation(label)


def recheck(label: str = LEAF, **options: Any) -> repair.Repaired:
    (done,) = repair.repair([relation(label)], **options)
    return done


class Died(BaseException):
    """Ends a scan as a killed process does: nothing is released."""


class TestScan:
    def test_what_has_a_parent_is_no_suspect_and_what_has_none_is(self) -> None:
        Leaf.objects.create(owner=Owner.objects.create())
        keys = orphaned()
        seen = one()
        assert (seen.suspects, seen.orphans, seen.complete) == (3, 6, True)
        assert (seen.keys_scanned, seen.rows_scanned) == (4, 7)
        assert suspects() == [str(key) for key in keys]

    def test_it_changes_no_row_of_the_child(self) -> None:
        orphaned()
        before = list(Leaf.objects.order_by("pk").values())
        one()
        assert list(Leaf.objects.order_by("pk").values()) == before

    @pytest.mark.parametrize("size", [1, 2, 3, 100])
    def test_steps_of_any_size_see_the_same(self, tune: Tune, size: int) -> None:
        tune(scan_step_keys_max=size)
        for _ in range(5):
            Leaf.objects.create(owner=Owner.objects.create())
        keys = orphaned(7)
        assert one().keys_scanned == 12
        assert suspects() == [str(key) for key in keys]

    def test_a_second_pass_enters_no_suspect_twice(self) -> None:
        keys = orphaned()
        assert one().suspects == one().suspects == 3
        assert suspects() == [str(key) for key in keys]

    def test_what_the_log_is_about_already_is_no_suspect(self, converge: Converge) -> None:
        owner = Owner.objects.create()
        Leaf.objects.create(owner=owner)
        owner.delete()
        assert one().suspects == 0
        assert suspects() == []
        assert converge() == {LEAF: 1}

    def test_suspects_whose_rows_are_gone_are_forgotten(self) -> None:
        orphaned()
        one()
        Leaf.objects.all()._raw_delete("test_right")
        one()
        assert suspects() == []
        assert not Deletion.objects.exists()

    def test_listeners_hear_of_the_keys(self) -> None:
        heard: list[Any] = []

        def note(relation: str, database: str, keys: tuple[str, ...], **_: object) -> None:
            heard.append((relation, database, keys))

        orphan_found.connect(note)
        keys = orphaned(1)
        one()
        orphan_found.disconnect(note)
        assert heard == [(LEAF, "test_right", (str(keys[0]),))]


class TestPasses:
    def test_a_pass_goes_on_where_the_last_run_stopped(self, tune: Tune) -> None:
        tune(scan_step_keys_max=2)
        orphaned(5)
        counts = [run(seconds=0)[LEAF] for _ in range(3)]
        assert [each.keys_scanned for each in counts] == [2, 2, 1]
        assert [each.complete for each in counts] == [False, False, True]
        row = Scan.objects.get(relation=LEAF)
        assert (row.last_keys, row.last_missing, row.last_orphans, row.keys) == (5, 5, 10, 5)
        assert row.began_at is None
        assert row.covers_at < row.finished_at

    def test_a_run_that_dies_is_taken_over_and_no_step_is_skipped(
        self, tune: Tune, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tune(scan_step_keys_max=2)
        keys = orphaned(6)
        monkeypatch.setattr(scan_pass, "SAVE_SECONDS", 0.0)
        saved = scan_pass.Pass._save
        calls: list[int] = []

        def die(one: Any) -> bool:
            calls.append(1)
            if len(calls) == 2:
                raise Died
            return saved(one)

        monkeypatch.setattr(scan_pass.Pass, "_save", die)
        with pytest.raises(Died):
            one()
        monkeypatch.setattr(scan_pass.Pass, "_save", saved)
        assert one().reason == "another scan is at work on it"
        Scan.objects.update(due_at=timezone.now())
        assert one().complete
        assert suspects() == [str(key) for key in keys]
        assert Scan.objects.get(relation=LEAF).last_keys == 6

    def test_one_that_was_taken_over_saves_nothing_more(self, monkeypatch: Any) -> None:
        orphaned()
        looked = scan_pass.Pass._check

        def lose(one: Any, step: Any) -> None:
            looked(one, step)
            Scan.objects.update(claim=uuid.uuid4())

        monkeypatch.setattr(scan_pass.Pass, "_check", lose)
        assert one().reason == "another scan took it over"
        assert suspects() == []

    def test_what_no_time_was_left_for_is_said(self) -> None:
        found = run(seconds=0)
        assert len(found) == len(
            [
                each
                for each in relations.catalogue().relations
                if "test_right" in each.child_databases
            ]
        )
        assert {each.reason for each in found.values() if not each.complete} == {"no time was left"}

    def test_a_step_that_fails_is_tried_again_with_fewer_keys(
        self, tune: Tune, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tune(scan_step_keys_max=400)
        orphaned()

        def fail(one: Any, step: Any) -> None:
            raise OperationalError("canceling statement due to statement timeout")

        with monkeypatch.context() as broken:
            broken.setattr(scan_pass.Pass, "_check", fail)
            assert one().reason == "OperationalError"
        row = Scan.objects.get(relation=LEAF)
        assert (row.step_keys, row.claim, row.cursor) == (200, None, None)
        assert one().suspects == 3

    def test_a_full_one_begins_anew(self, tune: Tune) -> None:
        tune(scan_step_keys_max=2)
        orphaned(3)
        run(seconds=0)
        assert one(full=True).keys_scanned == 3

    def test_only_what_is_due_is_scanned_in_a_tick(self, captured: Captured) -> None:
        run(throttled=True)
        with captured:
            assert run(throttled=True) == {}
        logs = len(relations.catalogue().log_databases)
        assert sum(len(captured[alias]) for alias in connections) <= 5 * logs
        Scan.objects.update(covers_at="2020-01-01T00:00Z")
        assert run(throttled=True)[LEAF].complete

    def test_a_key_without_an_index_is_refused_with_the_reason(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(relations.Relation, "indexed", False)
        assert "no index begins with" in one().reason

    def test_status_tells_coverage_and_the_guarantee(self, tune: Tune) -> None:
        tune(scan_step_keys_max=2)
        orphaned(4)
        one()
        (row,) = [each for each in scans.scan_rows() if each["relation"] == LEAF]
        assert (row["coverage"], row["suspects"], row["orphans"]) == (1.0, 4, 8)
        assert row["last_full_scan"]
        run(seconds=0)
        (row,) = [each for each in scans.scan_rows() if each["relation"] == LEAF]
        assert row["coverage"] == 0.5
        assert row["age_seconds"] > 0


class TestRecheck:
    @pytest.fixture(autouse=True)
    def soon(self, tune: Tune) -> None:
        tune(grace_seconds=0.001)

    @pytest.fixture(autouse=True)
    def bystander(self, request: pytest.FixtureRequest, committed: None) -> None:
        if "empty" not in request.node.name:
            Owner.objects.create()

    def test_a_confirmed_suspect_takes_the_path_of_every_deletion(self, converge: Converge) -> None:
        keys = orphaned()
        one()
        assert len(recheck().confirmed) == 3
        assert converge() == {LEAF: 6}
        assert Leaf.objects.count() == 0
        found = {(row.key, row.source, row.state) for row in Deletion.objects.all()}
        assert suspects() == []
        assert found == {(str(key), "scan", "cascaded") for key in keys}

    def test_a_parent_that_came_back_cancels_it(self, converge: Converge) -> None:
        back, gone = orphaned(2)
        one()
        Owner.objects.create(pk=back)
        done = recheck()
        assert (len(done.confirmed), done.cancelled) == (1, 1)
        assert converge() == {LEAF: 2}
        assert set(Leaf.objects.values_list("owner_id", flat=True)) == {back}
        assert gone != back

    def test_it_waits_for_the_grace_period(self, tune: Tune) -> None:
        tune(grace_seconds=60)
        orphaned()
        one()
        done = recheck()
        assert (done.confirmed, done.waiting) == ([], 3)

    def test_a_parent_of_a_transaction_that_was_open_at_the_scan_is_waited_for(
        self, converge: Converge
    ) -> None:
        other = connections["default"].copy()
        try:
            other.set_autocommit(False)
            with other.cursor() as cursor:
                cursor.execute("INSERT INTO parents_owner (name) VALUES (%s) RETURNING id", ["x"])
                key = cursor.fetchone()[0]
                Leaf.objects.create(owner_id=key)
                assert one().suspects == 1
                assert recheck().waiting == 1
            other.commit()
        finally:
            other.close()
        done = recheck()
        assert (done.confirmed, done.cancelled) == ([], 1)
        assert converge() == {}
        assert Leaf.objects.get().owner_id == key

    def test_an_empty_table_of_parents_repairs_nothing(self, converge: Converge) -> None:
        orphaned()
        one()
        assert not Owner.objects.exists()
        done = recheck()
        assert done.brake == "the parent's table is empty"
        assert converge() == {}
        assert len(recheck(override="they are really gone").confirmed) == 3
        assert Audit.objects.get().reason == "they are really gone"

    def test_an_absurd_share_repairs_nothing(self, tune: Tune, converge: Converge) -> None:
        tune(grace_seconds=0.001, brake_keys=2)
        orphaned(3)
        one()
        assert "3 of 3 keys have no parent, more than 1.0% and 2 keys" in recheck().brake
        assert converge() == {}
        tune(grace_seconds=0.001, brake_keys=3)
        assert recheck().brake == ""
        assert converge() == {LEAF: 6}

    def test_a_recheck_that_disagrees_repairs_nothing(self, tune: Tune) -> None:
        tune(grace_seconds=0.001, brake_keys=2, brake_share=1.0)
        keys = orphaned(4)
        one()
        Owner.objects.bulk_create(Owner(pk=key) for key in keys[:3])
        done = recheck()
        assert "the recheck found 3 of 4 missing parents alive" in done.brake
        assert (done.confirmed, done.waiting) == ([], 0)


class TestKinds:
    """Whatever the key holds, and wherever both ends live."""

    @pytest.mark.parametrize(
        ("label", "values"),
        [
            ("left.Optional.owner", {}),
            ("left.Profile.owner", {}),
            ("left.TokenUse.token", {}),
            ("left.WordUse.word", {"text": "it's %s \"{,"}),
            ("left.Badge.person", {"code": "a'b{%s,"}),
            ("left.Invoice.person", {"number": "1.50"}),
            ("left.RestaurantNote.restaurant", {"code": "r"}),
            ("left.HiddenUse.hidden", {}),
            ("left.Quote.author", {}),
            ("lite.Note.mixed", {}),
            ("left.Nulled.giver", {}),
        ],
    )
    def test_orphans_are_found_and_repaired_and_the_living_kept(
        self, tune: Tune, converge: Converge, label: str, values: dict[str, Any]
    ) -> None:
        tune(grace_seconds=0.001, scan_step_keys_max=1)
        found = relation(label)
        home, (alias,) = found.parent_databases[0], found.child_databases
        kept, gone = (
            found.parent._base_manager.using(home).create(**given(found, values, n)) for n in (1, 2)
        )
        for each in (kept, gone):
            found.child._base_manager.create(**{found.field.name: each})
        models.QuerySet(found.parent, using=home).filter(pk=gone.pk)._raw_delete(home)
        if found.parent._meta.parents:
            type(gone).place_ptr.field.remote_field.model.objects.filter(pk=gone.pk)._raw_delete(
                home
            )
        seen = one(label, alias)
        assert (seen.suspects, seen.orphans, seen.complete) == (1, 1, True)
        assert len(recheck(label).confirmed) == 1
        assert converge() == {label: 1}
        rows = found.child._base_manager.order_by("pk")
        left = [getattr(each, found.field.attname) for each in rows]
        kept = models.QuerySet(found.parent, using=home).get(pk=kept.pk)
        holds = getattr(kept, found.target.attname)
        assert left == ([holds, None] if label == "left.Nulled.giver" else [holds])

    def test_a_key_that_is_null_is_no_orphan(self) -> None:
        Optional.objects.create(owner=None)
        assert one("left.Optional.owner", "test_left").keys_scanned == 0

    @pytest.mark.parametrize("label", ["right.Restricting.guarded", "right.Untouched.giver"])
    def test_what_no_policy_removes_is_counted_and_never_a_suspect(self, label: str) -> None:
        found = relation(label)
        parent = found.parent.objects.create()
        found.child.objects.create(**{found.field.name: parent})
        models.QuerySet(found.parent, using="default").filter(pk=parent.pk)._raw_delete("default")
        seen = one(label)
        assert (seen.suspects, seen.orphans) == (1, 1)
        assert suspects() == []
        assert repair.repair([found]) == []

    @pytest.mark.usefixtures("truncated")
    def test_more_missing_keys_than_a_statement_takes_parameters(self) -> None:
        first = 1_000_000
        Leaf.objects.bulk_create(Leaf(owner_id=first + n) for n in range(33_000))
        Owner.objects.create()
        assert one().suspects == 33_000
        assert len(suspects()) == 33_000


def given(found: relations.Relation, values: dict[str, Any], number: int) -> dict[str, Any]:
    """Other values for each parent, where they have to be unique."""
    if not values or number == 2:
        return values
    return {name: "2.25" if name == "number" else f"other {name}"[:12] for name in values}


class TestForms:
    """Both ways to read keys give the same, on both engines."""

    FORMS: ClassVar = [
        pytest.param(PostgreSQLKeys(), "default", marks=pytest.mark.postgresql),
        pytest.param(MySQLKeys(), "default", marks=ON_MYSQL),
        (PortableKeys(), "default"),
        (PortableKeys(), "test_lite"),
    ]

    @pytest.mark.parametrize(("form", "alias"), FORMS)
    @pytest.mark.parametrize("limit", [1, 2, 3, 50])
    def test_steps_and_missing_keys(self, form: Any, alias: str, limit: int) -> None:
        parent, child, name = (
            (Tenant, Account, "tenant") if alias == "default" else (Note, Line, "note")
        )
        extra = {} if alias == "default" else {"mixed_id": 1}
        parents = [parent.objects.create(**extra) for _ in range(6)]
        for each in (*parents, *parents[2:]):
            child.objects.create(**{name: each})
        field = child._meta.get_field(name)
        with without_constraints(alias):
            gone = [parents[1].pk, parents[5].pk]
            parent.objects.filter(pk__in=gone)._raw_delete(alias)
            steps, missing, after = [], [], None
            with form.reading(alias):
                while (step := form.ask(field, after, limit, child=alias)()) is not None:
                    steps.append((step.count, step.rows))
                    missing += form.missing(field, step, parent=alias)
                    after = step.last
            child.objects.filter(**{f"{name}__in": gone})._raw_delete(alias)
        assert [int(key) for key in missing] == gone
        assert (sum(n for n, _ in steps), sum(n for _, n in steps)) == (6, 10)
        assert len(steps) == -(-6 // limit)


@contextmanager
def without_constraints(alias: str) -> Iterator[None]:
    with transaction.atomic(using=alias), connections[alias].constraint_checks_disabled():
        yield


def test_the_settings_say_which_relations_are_repaired_without_being_asked(tune: Tune) -> None:
    assert repair.wanted() == []
    tune(scan_policy={LEAF: "repair"})
    assert [each.label for each in repair.wanted()] == [LEAF]
    tune(scan_policy="repair")
    assert len(repair.wanted()) == len(relations.catalogue().relations)
