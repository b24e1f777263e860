"""The catalogue: what crosses databases, read from the models and the routers alone."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.contrib.postgres.indexes import BTreeIndex, HashIndex
from django.db import models
from django.test.utils import isolate_apps
from hypothesis import given
from hypothesis import strategies as st

from apps.blog.models import Comment, Post
from apps.integrity import relations
from apps.integrity.exceptions import CrossDatabaseError, InvalidKey, UnknownName
from apps.integrity.relations import crossing, discovery, homes, keys
from apps.integrity.relations.policies import Policy
from apps.integrity.relations.relation import concrete, primary_key
from tests.kinds.left import models as left
from tests.kinds.parents import models as parents
from tests.kinds.spread.models import Entry

if TYPE_CHECKING:
    from collections.abc import Callable

CATALOGUE = relations.catalogue()
BY_LABEL = {each.label: each for each in CATALOGUE.relations}


def test_the_relations_of_the_sample_apps_are_those_of_the_seed() -> None:
    found = {
        each.label: (each.parent, each.policy, each.parent_databases, each.child_databases)
        for each in CATALOGUE.relations
        if each.child._meta.app_label in {"blog", "shop"}
    }
    assert found == {
        "blog.Comment.author": (User, Policy.CASCADE, ("default",), ("blog_db",)),
        "blog.Post.author": (User, Policy.CASCADE, ("default",), ("blog_db",)),
        "shop.Order.customer": (User, Policy.CASCADE, ("default",), ("shop_db",)),
    }


@pytest.mark.parametrize(
    ("label", "parent", "policy"),
    [
        ("left.Profile.owner", parents.Owner, "CASCADE"),  # OneToOneField
        ("left.Membership.owner", parents.Owner, "CASCADE"),  # explicit through
        ("left.Team_members.owner", parents.Owner, "CASCADE"),  # through made by Django
        ("left.ProxyUse.owner", parents.Owner, "CASCADE"),  # the model behind the proxy
        ("left.Badge.person", parents.Person, "CASCADE"),  # to_field
        ("left.RestaurantNote.restaurant", parents.Restaurant, "CASCADE"),
        ("left.Nulled.giver", parents.Giver, "SET_NULL"),
        ("left.Defaulted.giver", parents.Giver, "SET_DEFAULT"),
        ("left.Valued.giver", parents.Giver, "SET"),
        ("left.Called.giver", parents.Giver, "SET"),
        ("left.Customised.giver", parents.Giver, "CUSTOM"),
        ("left.Protecting.guarded", parents.Guarded, "PROTECT"),
        ("right.Restricting.guarded", parents.Guarded, "RESTRICT"),
        ("right.Untouched.giver", parents.Giver, "DO_NOTHING"),
        ("right.BookNote.book", left.Book, "CASCADE"),  # the parent is a child elsewhere
    ],
)
def test_every_kind_of_key_between_databases_is_found(
    label: str, parent: type[models.Model], policy: str
) -> None:
    assert (BY_LABEL[label].parent, BY_LABEL[label].policy) == (parent, policy)


@pytest.mark.parametrize(
    "label",
    [
        "blog.Comment.post",
        "left.Membership.group",
        "left.Team_members.team",
        "left.Derived.base_ptr",
        "parents.Restaurant.place_ptr",
        "parents.Account.tenant",
        "admin.LogEntry.user",
    ],
)
def test_a_key_inside_one_database_is_none_of_ours(label: str) -> None:
    assert label not in BY_LABEL


def test_the_order_is_that_of_the_labels_and_every_discovery_gives_the_same() -> None:
    labels = [each.label for each in relations.discover().relations]
    assert labels == sorted(labels) == [each.label for each in CATALOGUE.relations]


def test_a_router_may_give_a_model_several_homes() -> None:
    relation = BY_LABEL["spread.Entry.everywhere"]
    assert homes.databases_for(Entry) == relation.child_databases == ("test_left", "test_right")
    assert CATALOGUE.databases_of("parents.Everywhere") == ("test_left", "test_right")
    assert homes.databases_for(Post) == ("blog_db",)


def test_a_log_is_kept_where_parents_live() -> None:
    assert set(CATALOGUE.log_databases) == {"default", "test_left", "test_lite"}


def test_a_log_is_kept_in_default_when_nothing_crosses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "_known", [relations.Catalogue(())])
    assert relations.log_databases() == ("default",)


def test_cascades_go_along_policies_that_leave_work() -> None:
    assert {each.label for each in CATALOGUE.children_of("parents.Giver")} == {
        f"left.{name}.giver"
        for name in ("Nulled", "Defaulted", "Valued", "Called", "Instanced", "Customised")
    }
    assert CATALOGUE.children_of("parents.Guarded") == ()
    assert CATALOGUE.databases_of("parents.Guarded") == ()


def test_cascades_go_into_one_database_at_a_time() -> None:
    labels = [each.label for each in CATALOGUE.children_of("auth.User", "shop_db")]
    assert labels == ["shop.Order.customer"]
    assert CATALOGUE.databases_of("auth.User") == ("blog_db", "shop_db")


def test_parents_are_known_by_their_label_in_any_case() -> None:
    assert CATALOGUE.parent("AUTH.user") is User


@pytest.mark.parametrize(
    ("ask", "kind", "known"),
    [
        (CATALOGUE.parent, "parent model", "auth.User"),
        (CATALOGUE.database, "child database", "blog_db"),
    ],
)
def test_an_unknown_name_is_refused_with_the_known_ones(
    ask: Callable[[str], object], kind: str, known: str
) -> None:
    with pytest.raises(UnknownName, match=rf"unknown {kind} 'nope'; known: .*{known}") as caught:
        ask("nope")
    assert isinstance(caught.value, CrossDatabaseError)
    assert known in caught.value.known


def test_default_is_no_child_database() -> None:
    with pytest.raises(UnknownName):
        CATALOGUE.database("default")


@pytest.mark.parametrize(
    ("on_delete", "policy"),
    [
        (models.CASCADE, Policy.CASCADE),
        (models.PROTECT, Policy.PROTECT),
        (models.RESTRICT, Policy.RESTRICT),
        (models.SET_NULL, Policy.SET_NULL),
        (models.SET_DEFAULT, Policy.SET_DEFAULT),
        (models.SET(1), Policy.SET),
        (models.SET(left.called), Policy.SET),
        (models.DO_NOTHING, Policy.DO_NOTHING),
        (left.put_custom, Policy.CUSTOM),
    ],
)
def test_each_on_delete_has_its_policy(on_delete: Any, policy: Policy) -> None:
    assert Policy.of(on_delete) is policy


def test_policies_are_told_apart_by_when_they_act() -> None:
    at_once = {each for each in Policy if each.protects}
    later = {each for each in Policy if each.cascades}
    assert at_once == {Policy.PROTECT, Policy.RESTRICT}
    assert set(Policy) - at_once - later == {Policy.DO_NOTHING}


@pytest.mark.parametrize(
    ("options", "meta", "indexed"),
    [
        ({}, {}, True),
        ({"db_index": False}, {}, False),
        ({"db_index": False}, {"indexes": [models.Index(fields=["key"], name="a")]}, True),
        ({"db_index": False}, {"indexes": [models.Index(fields=["-key", "n"], name="a")]}, True),
        ({"db_index": False}, {"indexes": [models.Index(fields=["n", "key"], name="a")]}, False),
        ({"db_index": False}, {"indexes": [BTreeIndex(fields=["key"], name="a")]}, True),
        # It has no order, which looks and scans need.
        ({"db_index": False}, {"indexes": [HashIndex(fields=["key"], name="a")]}, False),
        (
            {"db_index": False},
            {"indexes": [models.Index(fields=["key"], name="a", condition=models.Q(n=1))]},
            False,
        ),
        ({"db_index": False}, {"unique_together": [("key", "n")]}, True),
        (
            {"db_index": False},
            {"constraints": [models.UniqueConstraint(fields=["key"], name="a")]},
            True,
        ),
        (
            {"db_index": False},
            {
                "constraints": [
                    models.UniqueConstraint(fields=["key"], name="a", condition=models.Q(n=1))
                ]
            },
            False,
        ),
    ],
)
def test_a_key_is_indexed_when_a_whole_index_begins_with_it(
    options: dict[str, Any], meta: dict[str, Any], *, indexed: bool
) -> None:
    with isolate_apps("tests.kinds.left"):

        class Child(models.Model):  # noqa: DJ008
            key = left.across(parents.Owner, **options)
            n = models.IntegerField()
            Meta = type("Meta", (), {"app_label": "left", **meta})

    relation = crossing.relation_of(Child._meta.get_field("key"))
    assert relation is not None
    assert relation.indexed is indexed


def field(made: models.Field[Any, Any]) -> models.Field[Any, Any]:
    made.set_attributes_from_name("key")
    return made


KEYS = {
    "integer": (models.BigIntegerField(), st.integers()),
    "text": (models.CharField(), st.text()),
    "uuid": (models.UUIDField(), st.uuids()),
    "date": (models.DateField(), st.dates()),
    "moment": (models.DateTimeField(), st.datetimes(timezones=st.just(dt.UTC))),
    "decimal": (
        models.DecimalField(max_digits=12, decimal_places=3),
        st.decimals(allow_nan=False, allow_infinity=False, places=3, max_value=10**8),
    ),
    "binary": (models.BinaryField(), st.binary()),
    "boolean": (models.BooleanField(), st.booleans()),
}


@pytest.mark.parametrize("kind", KEYS)
@given(data=st.data())
def test_a_key_survives_its_text_form(kind: str, data: st.DataObject) -> None:
    key, values = field(KEYS[kind][0]), KEYS[kind][1]
    value = data.draw(values)
    assert keys.parse_key(key, keys.format_key(key, value)) == value


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (User, "abc"),
        (User, ""),
        (User, "1; DROP TABLE auth_user"),
        (parents.Token, "not-a-uuid"),
        (parents.Token, "1"),
    ],
)
def test_a_text_that_is_no_key_is_refused_by_name(model: type[models.Model], text: str) -> None:
    with pytest.raises(InvalidKey, match=f"^not a key that {model._meta.label}.id can hold$"):
        keys.parse_key(primary_key(model), text)


def test_a_key_is_parsed_to_the_type_of_its_field() -> None:
    assert keys.parse_key(primary_key(User), "7") == 7
    given = uuid.uuid4()
    assert keys.parse_key(primary_key(parents.Token), given.hex) == given
    assert keys.parse_key(parents.Person._meta.get_field("number"), "1.50") == Decimal("1.5")


def test_the_concrete_model_is_what_a_proxy_stands_for() -> None:
    assert concrete(parents.OwnerProxy) is parents.Owner
    assert concrete(Comment) is Comment


def test_the_catalogue_asks_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a query")

    monkeypatch.setattr("django.db.backends.base.base.BaseDatabaseWrapper.cursor", refuse)
    assert relations.discover() == CATALOGUE
