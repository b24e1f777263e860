"""Keys that Python sees otherwise than the database: nobody's rows are taken for another's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import models
from django.test.utils import isolate_apps

from apps.integrity import capture, cascade, relations, scan, testing
from apps.integrity.backends import lookups
from apps.integrity.cascade import verification
from apps.integrity.checks import round_trips
from apps.integrity.exceptions import InvalidKey
from apps.integrity.models import Cascade
from apps.integrity.queues import dispatch
from apps.integrity.reading import alive
from apps.integrity.relations import stored
from apps.integrity.relations.keys import format_key
from apps.integrity.relations.relation import primary_key
from apps.integrity.report import preview
from apps.integrity.scan import repair, scan_pass
from tests.kinds.coded import fields
from tests.kinds.coded.models import FAMILIES, TREES, Family
from tests.kinds.parents.models import Owner

if TYPE_CHECKING:
    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

#: With MASK = 6, each is another one's number in Python: 1 and 7, 2 and 4, 3 and 5.
NUMBERS = range(1, 9)
GONE = (1, 2, 8)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest, tune: Tune) -> Family:
    tune(grace_seconds=0.001, brake_keys=100)
    return FAMILIES[request.param]


class People:
    """The parents of a family, by number, each with two rows to go and one to keep."""

    def __init__(self, family: Family) -> None:
        self.family = family
        for n in NUMBERS:
            parent = self.made(n)
            for _ in range(2):
                family.child.objects.create(parent_id=getattr(parent, family.by))
            if family.kept:
                family.kept.objects.create(parent_id=getattr(parent, family.by))

    def made(self, n: int, pk: int | None = None) -> Any:
        key = self.family.key
        return self.family.parent.objects.create(id=key(pk or n), code=key(n), n=n)

    def one(self, n: int) -> Any:
        return self.family.parent.objects.get(n=n)

    def held(self, model: Any) -> dict[int, int]:
        """Rows by the number of the parent whose key they hold; 0: of none."""
        by_text = {str(self.family.key(n)): n for n in NUMBERS}
        found: dict[int, int] = {}
        for key in model.objects.values_list("parent_id", flat=True):
            n = 0 if key is None else by_text[str(key)]
            found[n] = found.get(n, 0) + 1
        return dict(sorted(found.items()))


def work(family: Family) -> None:
    dispatch.sweep_all()
    cascade.drain(family.child.home, seconds=5)
    verification.verify(family.child.home)


def states(family: Family) -> set[str]:
    cascades = Cascade.objects.using(family.parent.home).filter(database=family.child.home)
    return {*cascades.values_list("state", flat=True)}


@pytest.mark.parametrize("at_once", [True, False])
def test_the_rows_of_the_deleted_go_and_no_others(family: Family, *, at_once: bool) -> None:
    people = People(family)
    if at_once:
        family.parent.objects.filter(n__in=GONE).delete()
    for n in () if at_once else GONE:
        people.one(n).delete()
    hidden = alive(family.child.objects.all()).count()
    work(family)
    left = {n: 2 for n in NUMBERS if n not in GONE}
    assert people.held(family.child) == left
    assert hidden == sum(left.values())
    if family.kept:
        assert people.held(family.kept) == {0: len(GONE), **dict.fromkeys(left, 1)}
    assert states(family) == {"verified"}


def test_who_came_back_keeps_all_rows(family: Family) -> None:
    people = People(family)
    for n in GONE:
        people.one(n).delete()
    # By `to_field`: another parent took the value over.
    people.made(GONE[0], pk=None if family.by == "pk" else 20)
    work(family)
    assert people.held(family.child) == {n: 2 for n in NUMBERS if n not in GONE[1:]}
    assert states(family) == {"kept", "verified"}


def test_a_scan_finds_the_orphans_alone_and_repair_removes_them(family: Family) -> None:
    people = People(family)
    family.parent.objects.filter(n__in=GONE)._raw_delete(family.parent.home)
    relation = relations.catalogue().relation(f"coded.{family.child.__name__}.parent")
    with pytest.raises(AssertionError, match="6 orphans of 3 missing"):
        testing.assert_no_orphans(relation.label)
    (scanned,), _ = scan.scan(family.child.home, labels=[relation.label])
    assert (scanned.suspects, scanned.orphans, scanned.complete, scanned.reason) == (3, 6, True, "")
    people.made(GONE[0], pk=20 if family.by == "code" else None)  # it came late
    (done,) = repair.repair([relation])
    assert (len(done.confirmed), done.cancelled, done.reason) == (2, 1, "")
    work(family)
    assert people.held(family.child) == {n: 2 for n in NUMBERS if n not in GONE[1:]}
    testing.assert_no_orphans(relation.label)


def test_a_preview_counts_the_rows_of_one(family: Family) -> None:
    people = People(family)
    parent = people.one(3)
    key = format_key(primary_key(family.parent), parent.pk)
    family.child.objects.create(parent_id=getattr(parent, family.by))
    rows = {each["relation"]: each["rows"] for each in preview.preview_of(parent._meta.label, key)}
    label = f"coded.{family.child.__name__}.parent"
    assert rows[label] == 3
    key_of_other = format_key(parent._meta.pk, people.one(4).pk)
    other = {
        each["relation"]: each["rows"]
        for each in preview.preview_of(parent._meta.label, key_of_other)
    }
    assert other[label] == 2
    assert preview.exists(parent._meta.label, key)


def test_a_scan_goes_on_where_it_was(
    family: Family, tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step by step, each after the key of the one before."""
    monkeypatch.setattr(scan_pass, "FIRST_KEYS", 2)
    tune(scan_step_keys_max=2)
    People(family)
    family.parent.objects.filter(n__in=GONE)._raw_delete(family.parent.home)
    label = f"coded.{family.child.__name__}.parent"
    (scanned,), _ = scan.scan(family.child.home, labels=[label])
    assert (scanned.keys_scanned, scanned.suspects, scanned.orphans) == (len(NUMBERS), 3, 6)


@pytest.mark.parametrize("home", TREES)
def test_rows_whose_own_keys_are_masked(home: str, tune: Tune) -> None:
    """The keys of what goes are those of what refers to it: a step prepares none of them again."""
    tune(grace_seconds=0.001)
    family, tree = FAMILIES["Masked, PostgreSQL"], TREES[home]
    people = People(family)
    for n in NUMBERS:
        parent = people.one(n)
        branch = tree.branch.objects.create(id=family.key(n), parent_id=parent.pk)
        for _ in range(n):
            tree.leaf.objects.create(branch_id=branch.pk)
        tree.circle.objects.create(id=family.key(n), parent_id=parent.pk)
    for n in GONE:
        people.one(n).delete()
    dispatch.sweep_all()
    done = cascade.drain(tree.branch.home, seconds=5)
    left = {family.key(n) for n in NUMBERS if n not in GONE}
    for model in (tree.branch, tree.circle):
        assert {*model.objects.values_list("pk", flat=True)} == left
    assert {*tree.leaf.objects.values_list("branch_id", flat=True)} == left
    assert done.rows[f"coded.{tree.leaf.__name__}.branch"] == sum(GONE)


@isolate_apps("tests.kinds.coded")
def test_what_a_server_returns_in_another_form_proves_nothing() -> None:
    class Sloppy(models.BigIntegerField):
        """Makes texts of whole numbers."""

        def get_db_prep_value(self, value: Any, *_: Any, **__: Any) -> Any:
            return str(value)

    class Parent(models.Model):  # noqa: DJ008 (nobody looks at it)
        id = Sloppy(primary_key=True)

        class Meta:
            app_label, db_table = "coded", "parents_owner"

        home = "default"

    owner = Owner.objects.create()
    with pytest.raises(InvalidKey, match=r"coded\.Parent\.id: the server returns keys in another"):
        lookups.existing(Parent._meta.pk, {0: owner.pk}, ["default"])
    message = round_trips._problem(Parent._meta.pk, "default", triggers=False)
    assert message is None or message.id == "integrity.E020"


@pytest.mark.parametrize("name", ["Object, PostgreSQL", "Masked, PostgreSQL"])
def test_assert_cascades(name: str) -> None:
    family, numbers = FAMILIES[name], iter(NUMBERS)
    people = People.__new__(People)
    people.family = family
    for model in (family.child, family.kept):
        testing.assert_cascades(
            f"coded.{model.__name__}.parent",
            parent=lambda: people.made(next(numbers)),
            child=lambda parent, model=model: model.objects.create(parent_id=parent.pk),
        )


@isolate_apps("tests.kinds.coded")
def test_a_key_that_would_be_taken_for_another_is_refused() -> None:
    class Lossy(models.Model):  # noqa: DJ008 (nobody looks at it)
        id = fields.LossyField(primary_key=True)

        class Meta:
            app_label = "coded"

        home = "default"

    pk = Lossy._meta.pk
    assert not stored.converts_as_django(pk)
    with pytest.raises(InvalidKey, match=r"coded\.Lossy\.id: its value_to_string"):
        format_key(pk, 3)
    message = round_trips._problem(pk, "default", triggers=False)
    assert message is not None
    assert (message.id, message.obj) == ("integrity.E020", pk)
    assert "coded.Lossy.id (LossyField): the key 1 is logged as '1?', and read back as" in (
        message.msg
    )


def test_the_check_takes_those_of_these_tests_as_they_are() -> None:
    assert round_trips.returning() == []


@pytest.mark.parametrize("name", ["Object", "Masked", "StoredPrefix"])
def test_a_trigger_logs_what_the_column_holds(name: str, tune: Tune) -> None:
    """Of a field that reads that as another key, or as none, a trigger may not record."""
    parent = FAMILIES[f"{name}, PostgreSQL"].parent
    tune(capture={parent._meta.label: "both"})
    found = round_trips.returning()
    if name == "Object":  # it reads the column's text as well
        assert found == []
    else:
        assert {each.id for each in found} == {"integrity.E020"}
        assert {each.obj.name for each in found} == {"id", "code"}
        assert all('"signal"' in each.hint for each in found)


def test_keys_are_recorded_by_hand_in_either_form(tune: Tune) -> None:
    family = FAMILIES["CharUUID, parents on SQLite"]
    people = People(family)
    family.parent.objects.filter(n__in=(1, 2))._raw_delete(family.parent.home)
    keys = [family.key(1), str(family.key(2))]
    assert len(capture.record((family.parent, keys), using=family.parent.home)) == 2
    work(family)
    assert people.held(family.child) == {n: 2 for n in NUMBERS if n not in (1, 2)}
