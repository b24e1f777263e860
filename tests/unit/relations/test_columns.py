"""Declared relations: what may stand for a ForeignKey, and what is refused, with the remedy."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from django.apps import apps
from django.db import connections, models
from django.db.migrations.state import ModelState

from apps.integrity import checks, relations
from apps.integrity.capture import collector
from apps.integrity.declared import Relation
from apps.integrity.exceptions import InvalidSetting
from apps.integrity.relations import columns, keys, plan, resolve
from apps.integrity.relations.policies import Policy
from tests.kinds.left import models as left
from tests.kinds.parents import models as parents

if TYPE_CHECKING:
    from pytest_django.fixtures import SettingsWrapper

    from tests.conftest import Tune

CATALOGUE = relations.catalogue()
BY_LABEL = {each.label: each for each in CATALOGUE.relations}
PLAIN = ("left.Event.station_key", "parents.Station")
GENERIC = ("left.Tag.content_object", "parents.Station")


@pytest.mark.parametrize(
    ("label", "parent", "target", "policy"),
    [
        ("left.Event.station_key", parents.Station, "id", "CASCADE"),
        ("left.Event.station_code", parents.Station, "code", "CASCADE"),  # of a proxy
        ("left.Event.beacon_text", parents.Beacon, "id", "CASCADE"),
        ("left.Emptied.station_key", parents.Station, "id", "SET_NULL"),
        ("left.Reset.station_key", parents.Station, "id", "SET_DEFAULT"),
        ("left.Replaced.station_key", parents.Station, "id", "SET"),
        ("left.Kept.station_key", parents.Station, "id", "PROTECT"),
        ("lite.Limit.station_key", parents.Station, "id", "RESTRICT"),
        ("left.Reported.station_key", parents.Station, "id", "DO_NOTHING"),
        ("left.Note.content_object@parents.Plant", parents.Plant, "id", "CASCADE"),
        ("left.Note.content_object@parents.Weed", parents.Weed, "id", "CASCADE"),
        ("left.Sticker.stuck_to@parents.Plant", parents.Plant, "id", "CASCADE"),  # of a proxy
        ("left.Chisel.content_object@parents.Stone", parents.Stone, "id", "SET_NULL"),
        ("left.Fence.content_object@parents.Weed", parents.Weed, "id", "PROTECT"),
    ],
)
def test_a_declared_column_is_a_relation_like_any_other(
    label: str, parent: type[models.Model], target: str, policy: str
) -> None:
    found = BY_LABEL[label]
    assert (found.parent, found.target.name, found.policy) == (parent, target, policy)
    assert found.parent_databases == ("default",)
    assert found.child_databases == (f"test_{label.partition('.')[0]}",)


def test_the_models_stay_as_they_are() -> None:
    for each in CATALOGUE.relations:
        if not each.field.is_relation:
            own = each.child._meta.get_field(each.field.name)
            assert type(own) is not type(each.field)
            assert own.remote_field is None
            assert (
                dict(ModelState.from_model(each.child).fields)[own.name].deconstruct()[1:]
                == (own.deconstruct()[1:])
            )


def test_the_settings_can_say_it_before_anything_is_loaded() -> None:
    code = (
        "import sys; from apps.integrity.declared import Relation;"
        "Relation('a.B.c', 'd.E'); assert not [name for name in sys.modules if 'django' in name]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def refused(tune: Tune, *declared: Any) -> str:
    tune(relations=declared)
    with pytest.raises(InvalidSetting) as caught:
        relations.discover()
    text = str(caught.value)
    assert "INTEGRITY['relations']" in text
    return text


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        (("left.Event", "parents.Station"), ["'left.Event'", "analytics.Event.user_key"]),
        ((["left"], "parents.Station"), ["['left']", "analytics.Event.user_key"]),
        ((7, "parents.Station"), ["7 names no column"]),
        (
            ("lift.Event.station_key", "parents.Station"),
            ["the app of lift.Event is not installed", "left", "blog"],
        ),
        (("left.Evnt.station_key", "parents.Station"), ["no model 'Evnt'", "Event"]),
        (("left.Event.station", "parents.Station"), ["no column 'station'", "station_key"]),
        (("left.Event.station_key", "Station"), ["'Station' names no parent", "auth.User"]),
        (("left.Event.station_key", 7), ["7 names no parent"]),
        (("left.Event.station_key", "parents.Sttion"), ["no model 'Sttion'", "Station"]),
        (("left.Membership.owner", "parents.Owner"), ["in its model already (ForeignKey)"]),
        (("left.Profile.owner", "parents.Owner"), ["in its model already (OneToOneField)"]),
        (("left.Group.members", "parents.Owner"), ["(ManyToManyField) is not a column"]),
        (("left.Derived.lineage", "parents.Lineage"), ["in its model already (ForeignKey)"]),
        (("left.Tag.content_object", "parents.Station"), ["a GenericForeignKey", "known: default"]),
        (("left.Tag.object_id", "parents.Station"), ["'content_object'", "content_types="]),
        (("left.Tag.content_type", "parents.Station"), ["'content_object'", "content_types="]),
        (("left.Picture.tags", "parents.Station"), ["generic relation 'tags'"]),
        (
            ("left.Event.station_key", "parents.Beacon"),
            ["(IntegerField)", "UUIDField or CharField"],
        ),
        (
            ("left.Event.beacon_key", "parents.Station"),
            ["no row of left.Event.beacon_key (UUIDField) could hold"],
        ),
        (("left.Event.beacon_key", "parents.Word"), ["(CharField)", "of CharField or TextField"]),
        (("left.Replaced.station_key", "parents.Beacon"), ["max_length=20", "UUIDField"]),
        (("left.Event.station_key", "auth.User", "CASCAD"), ["'CASCAD'", "CASCADE, PROTECT"]),
        (("left.Event.station_key", "auth.User", models.CASCADE), ["known: CASCADE, PROTECT"]),
        (("left.Event.station_key", "auth.User", ["CASCADE"]), ["known: CASCADE, PROTECT"]),
        (("left.Event.station_key", "auth.User", "SET"), ["needs a value", "SET_NULL"]),
        (("left.Kept.station_key", "auth.User", "SET_NULL"), ["null=True"]),
        (("left.Kept.station_key", "auth.User", "SET_DEFAULT"), ["a default"]),
        (("parents.Person.number", "parents.Station"), ["DecimalField"]),
        (("left.Book.id", "left.Shelf"), ["both live in test_left", 'ForeignKey("left.Shelf"']),
    ],
)
def test_what_no_foreign_key_could_be_is_refused(
    tune: Tune, declared: tuple[Any, ...], words: list[str]
) -> None:
    text = refused(tune, Relation(*declared))
    for each in words:
        assert each in text


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        (Relation(*PLAIN, value=7), ["a value goes with", "'CASCADE'"]),
        (Relation(*PLAIN, to_field="name"), ["no unique field 'name'", "known: id, code"]),
        (Relation(*PLAIN, to_field=["id"]), ["no unique field ['id']"]),  # type: ignore[arg-type]
        (Relation(*PLAIN, to_field="code"), ["(IntegerField)", "of CharField or TextField"]),
        (Relation(*PLAIN, content_types="default"), ["is for a GenericForeignKey only"]),
        (Relation(*GENERIC, content_types="defualt"), ["'defualt'", "known: default"]),
        (Relation(*GENERIC, content_types=["default"]), ["content_types is ['default']"]),
        (Relation(*GENERIC, content_types="shop_db"), ["'shop_db'", "default, test_left"]),
        (Relation(*GENERIC, content_types="default", to_field="id"), ["so no to_field"]),
        (Relation(*GENERIC, "SET_NULL", content_types="default"), ["null=True: content_type"]),
        (
            Relation(*GENERIC, "SET", value=7, content_types="default"),
            ["'SET'", "keep the content type"],
        ),
        (Relation(*GENERIC, "SET_DEFAULT", content_types="default"), ["keep the content type"]),
        (
            Relation("left.Tag.content_object", "parents.Beacon", content_types="default"),
            ["left.Tag.object_id (PositiveBigIntegerField) could hold"],
        ),
        (
            Relation("left.Tag.content_object", "left.Shelf", content_types="test_left"),
            ["both live in test_left", 'GenericRelation("left.Tag", …) in left.Shelf'],
        ),
        ("left.Event.station_key", ["'left.Event.station_key'", "Relation("]),
        (BY_LABEL["left.Event.station_key"], ["it takes a list of"]),
    ],
)
def test_unusable_options_are_refused(tune: Tune, declared: Any, words: list[str]) -> None:
    text = refused(tune, declared)
    for each in words:
        assert each in text


def test_a_column_has_one_parent(tune: Tune) -> None:
    text = refused(tune, Relation(*PLAIN), Relation("left.event.station_key", "auth.User"))
    assert "left.Event.station_key is declared twice" in text


def test_a_generic_relation_has_each_parent_once(tune: Tune) -> None:
    """A proxy has the content type of its model."""
    plants = [
        Relation("left.Note.content_object", each, content_types="default")
        for each in ("parents.Plant", "parents.PlantProxy")
    ]
    text = refused(tune, *plants)
    assert text.endswith("left.Note.content_object@parents.Plant is declared twice")


def test_unless_its_proxies_have_content_types_of_their_own(
    tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    [pointer] = left.Note._meta.private_fields
    monkeypatch.setattr(pointer, "for_concrete_model", False)
    tune(
        relations=[
            Relation("left.Note.content_object", each, content_types="default")
            for each in ("parents.Plant", "parents.PlantProxy")
        ]
    )
    found = [each for each in relations.discover().relations if columns.generic_of(each.field)]
    assert [each.label for each in found] == [
        "left.Note.content_object@parents.Plant",
        "left.Note.content_object@parents.PlantProxy",
    ]
    assert {each.parent for each in found} == {parents.Plant}


def test_a_key_to_the_content_type_that_contradicts_is_no_relation(
    tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a content type deleted in the one database takes rows of another's."""
    key = left.Note._meta.get_field("content_type")
    monkeypatch.setattr(key.remote_field, "on_delete", models.CASCADE)
    tune(
        relations=[Relation("left.Note.content_object", "parents.Plant", content_types="test_left")]
    )
    found = relations.discover()
    assert "left.Note.content_object@parents.Plant" in {each.label for each in found.relations}
    assert key not in {each.field for each in found.relations}
    assert key in {each.field for each in found.unknown_homes}


@pytest.mark.parametrize("missing", ["ct_field", "fk_field"])
def test_a_generic_key_without_its_columns_is_refused(
    tune: Tune, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    [pointer] = left.Note._meta.private_fields
    monkeypatch.setattr(pointer, missing, "nothing")
    declared = Relation("left.Note.content_object", "parents.Plant", content_types="default")
    assert "no column 'nothing'; known: id, content_type" in refused(tune, declared)


def test_a_content_type_that_is_none_is_refused(
    tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    [pointer] = left.Note._meta.private_fields
    monkeypatch.setattr(pointer, "ct_field", "object_id")
    declared = Relation("left.Note.content_object", "parents.Plant", content_types="default")
    assert "object_id is no ForeignKey to ContentType" in refused(tune, declared)


@pytest.mark.parametrize("value", [None, 7, Relation(*PLAIN), {}])
def test_the_setting_is_a_list(tune: Tune, value: Any) -> None:
    tune(relations=value)
    with pytest.raises(InvalidSetting, match=r"INTEGRITY\['relations'\]"):
        relations.discover()


def test_a_column_of_a_parent_table_is_declared_there(tune: Tune) -> None:
    assert "is a column of left.Base: declare it there" in refused(
        tune, Relation("left.Derived.id", "parents.Station")
    )


def test_a_swapped_model_is_no_parent(tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parents.Station._meta, "swapped", "auth.User")
    with pytest.raises(InvalidSetting, match=r"parents.Station is not in use here.*'auth.User'"):
        resolve.parent_of("parents.Station")


def test_discovery_asks_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    for alias in connections:
        monkeypatch.setattr(connections[alias], "cursor", None)
        monkeypatch.setattr(connections[alias], "connect", None)
    assert [each.label for each in relations.discover().relations] == list(BY_LABEL)


# Keys


KEY, TEXT = BY_LABEL["left.Event.station_key"].field, BY_LABEL["left.Event.station_text"].field
UUID_TEXT = BY_LABEL["left.Event.beacon_text"].field


def test_a_text_column_holds_what_django_writes() -> None:
    assert keys.to_stored(TEXT, 7) == "7"
    assert keys.from_stored(TEXT, "7") == 7
    assert keys.from_stored(TEXT, "-7") == -7
    assert keys.to_stored(KEY, 7) == keys.from_stored(KEY, 7) == 7


@pytest.mark.parametrize(
    "text", ["007", " 7", "7 ", "+7", "-0", "7.0", "1_0", "\u0667", "", "x", str(2**63), "9" * 5000]
)
def test_another_text_is_no_key(text: str) -> None:
    assert keys.from_stored(TEXT, text) is None


def test_a_uuid_is_written_in_lower_case_with_hyphens() -> None:
    text = "0b9c1f6e-7d5a-4c9b-8f00-aaaaaaaaaaaa"
    key = keys.from_stored(UUID_TEXT, text)
    assert keys.to_stored(UUID_TEXT, key) == text
    for other in (text.upper(), text.replace("-", ""), f"{{{text}}}", f" {text}"):
        assert keys.from_stored(UUID_TEXT, other) is None


# What else is said of them


def test_a_plan_of_a_column() -> None:
    found = plan.plan_for(BY_LABEL["left.Event.station_key"])
    assert (found.strategy, found.root.label) == (plan.Strategy.SET_BASED, "left.Event.station_key")
    assert [each.label for each in found.root.below] == ["left.EventNote.event"]


def test_a_value_for_a_text_column_is_written_as_text() -> None:
    assert plan.replacement(BY_LABEL["left.Replaced.station_key"].field, "test_left") == "901"


def test_an_instance_gives_its_key_as_rows_hold_it(tune: Tune) -> None:
    tune(
        relations=[
            Relation("left.Replaced.station_key", "parents.Station", "SET", value=lambda: station)
        ]
    )
    station = parents.Station(pk=7)
    [found] = [each for each in relations.discover().relations if not each.field.is_relation]
    assert found.policy is Policy.SET
    assert plan.replacement(found.field, "test_left") == "7"


def test_a_column_is_checked_for_its_index_and_for_nothing_of_a_foreign_key(
    settings: SettingsWrapper, tune: Tune
) -> None:
    tune(relations=[Relation("analytics.Event.name", "auth.User")])
    [unindexed] = [each for each in relations.discover().relations if not each.field.is_relation]
    assert not unindexed.indexed
    settings.DATABASE_ROUTERS = []
    assert list(checks.keys.problems(BY_LABEL["left.Event.station_key"])) == []
    [found] = checks.keys.problems(unindexed)
    assert found.id == "integrity.W001"
    assert found.hint == "In analytics.Event.name: CharField(..., db_index=True)"


def test_an_index_of_a_generic_relation_begins_with_both_columns(tune: Tune) -> None:
    assert BY_LABEL["left.Note.content_object@parents.Plant"].indexed
    assert BY_LABEL["left.Sticker.stuck_to@parents.Plant"].indexed  # the other way round
    tune(relations=[Relation(*GENERIC, content_types="default")])
    [unindexed] = [each for each in relations.discover().relations if not each.field.is_relation]
    [found] = checks.keys.problems(unindexed)
    assert found.id == "integrity.W001"
    assert found.hint == (
        "In left.Tag: class Meta: indexes = [models.Index(fields=['content_type', 'object_id'])]"
    )


def test_a_parent_is_guarded_once_by_each_column_that_says_so() -> None:
    for _ in range(2):
        collector.adopt(relations.discover())
    [guard] = parents.Weed._meta.private_fields
    assert guard.name == "integrity_guard_of_left_fence_content_object_parents_weed"
    for model in (parents.Station, parents.StationProxy, parents.Lighthouse):
        assert sorted(each.relation.label for each in model._meta.private_fields) == [
            "left.Kept.station_key",
            "lite.Limit.station_key",
        ]
    for model in apps.get_models():
        if not issubclass(model, parents.Station | parents.Weed):
            assert not [
                each for each in model._meta.private_fields if isinstance(each, collector.Guard)
            ]


@pytest.mark.parametrize(
    "model", [parents.Station, parents.StationProxy, parents.Lighthouse, parents.Weed]
)
def test_django_checks_a_guarded_parent(model: type[models.Model]) -> None:
    assert [each for each in model._meta.private_fields if isinstance(each, collector.Guard)]
    assert model.check(databases=None) == []
