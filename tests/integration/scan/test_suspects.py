"""The table of suspects: each is there once, and becomes one deletion, on every engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections

from apps.integrity import capture, relations
from apps.integrity.log import pending, suspects, tables
from apps.integrity.models import KEY_CHARS, Deletion, Suspect
from apps.integrity.models.querysets import LogQuerySet
from apps.integrity.queues import dispatch
from tests import log_rows
from tests.kinds.parents.models import Owner, Person

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("committed")

LEAF, BADGE = "right.Leaf.owner", "left.Badge.person"


def entered(*keys: str, label: str = LEAF) -> suspects.Entered:
    relation = relations.catalogue().relation(label)
    database = relation.child_databases[0]
    return suspects.suspect(relation, keys, {}, database=database, using="default")


def ids() -> list[int]:
    return list(Suspect.objects.order_by("pk").values_list("pk", flat=True))


def test_a_key_that_comes_twice_is_one_suspect() -> None:
    """In one step, as where a collation tells apart what the log does not; and in two."""
    assert entered("1", "2", "1").suspects == ["1", "2"]
    entered("2", "3")
    assert log_rows.suspected(LEAF) == ["1", "2", "3"]


def test_keys_that_are_too_long_for_the_log_stop_no_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """SQLite, say, keeps to no length. Their rows are orphans that no repair removes."""
    long = "x" * (KEY_CHARS + 1)
    found = entered("a", long, label=BADGE)
    assert (found.suspects, found.blocked) == (["a"], [long])
    assert "1 missing keys have more than 255 characters" in caplog.text


def test_relations_that_share_a_parent_have_suspects_of_their_own() -> None:
    entered("1")
    entered("1", label="left.Optional.owner")
    assert log_rows.suspected() == ["1", "1"]
    assert len(suspects.confirm(ids()[:1], using="default")) == 1
    assert log_rows.suspected("left.Optional.owner") == ["1"]


def test_the_confirmed_ones_are_recorded_and_told() -> None:
    entered("1", "2", "3")
    entered("x", label=BADGE)
    made = suspects.confirm([*ids(), 10**9], using="default")
    rows = Deletion.objects.order_by("pk")
    assert made == [row.pk for row in rows]
    assert [(row.key, row.targets, row.relation) for row in rows] == [
        ("1", None, LEAF),
        ("2", None, LEAF),
        ("3", None, LEAF),
        (None, {"code": "x"}, BADGE),
    ]
    assert {(row.source, row.state, row.parent) for row in rows} == {
        ("scan", "recorded", "parents.Owner"),
        ("scan", "recorded", "parents.Person"),
    }
    assert {row.why for row in rows} == {"found by a scan, and confirmed"}
    assert log_rows.suspected() == []


def test_a_database_that_takes_no_target_of_conflicts_is_given_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[Any] = []

    def insert(_: Any, rows: Any, **options: Any) -> None:
        given.append(options["unique_fields"])

    features = type(connections["default"].features)
    monkeypatch.setattr(features, "supports_update_conflicts_with_target", False)
    monkeypatch.setattr(LogQuerySet, "bulk_create", insert)
    entered("1")
    assert given == [None]


def test_two_that_confirm_at_once_record_each_once(at_once: Callable[..., Any]) -> None:
    keys = [str(number) for number in range(200)]
    entered(*keys)
    named = ids()
    made = at_once(*[lambda: suspects.confirm(named, using="default")] * 2)
    assert sorted(len(each) for each in made) == [0, 200]
    assert sorted(row.key or "" for row in Deletion.objects.all()) == sorted(keys)


def test_one_that_was_dropped_meanwhile_is_not_confirmed() -> None:
    entered("1", "2")
    named = ids()
    assert suspects.drop(named[:1], using="default") == 1
    assert len(suspects.confirm(named, using="default")) == 1
    assert [row.key for row in Deletion.objects.all()] == ["2"]


def test_a_value_is_pending_while_its_suspect_is_confirmed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is no suspect any more, when suspects are asked, is in the log when deletions are."""
    entered("1")
    ask = tables.suspects

    def confirmed_before(using: str) -> Any:
        monkeypatch.setattr(pending.tables, "suspects", ask)
        suspects.confirm(ids(), using="default")
        dispatch.sweep("default")
        return ask(using)

    monkeypatch.setattr(pending.tables, "suspects", confirmed_before)
    assert capture.pending(Owner, 1)
    assert log_rows.suspected() == []


def test_of_values_of_another_field_all_open_deletions_are_looked_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(suspects, "BATCHES", 2)
    people = [Person.objects.create(code=str(number)) for number in range(6)]
    for person in people[:5]:
        person.delete()
        dispatch.sweep("default")
    people[5].delete()
    assert entered(*map(str, range(7)), label=BADGE).suspects == ["6"]
