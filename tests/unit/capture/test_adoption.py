"""Adopted fields: safe for the Collector, and for everybody else what their author wrote."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import migrations, models
from django.db.migrations.state import ModelState, ProjectState
from django.db.migrations.writer import MigrationWriter
from django.db.models import deletion
from django.db.models.signals import post_delete, pre_delete
from django.test.utils import isolate_apps

from apps.blog.models import Comment, Post
from apps.integrity import relations
from apps.integrity.capture import collector
from apps.integrity.capture.collector import AdoptedOnDelete
from apps.integrity.relations import crossing, policies
from apps.integrity.relations.policies import Policy
from apps.shop.models import Category, Order
from tests.kinds.left import models as left
from tests.kinds.parents import models as parents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from apps.integrity.relations import Relation

RELATIONS = relations.catalogue().relations
ADOPTED = [
    each for each in RELATIONS if each.field.is_relation and each.policy is not Policy.DO_NOTHING
]
#: They cascade to rows that others protect or restrict.
PROTECTED_BELOW = {"left.Vault.safe"}


def by_label(relation: Relation) -> str:
    return relation.label


@pytest.mark.parametrize("relation", ADOPTED, ids=by_label)
def test_every_relation_is_adopted_and_still_declares_its_policy(relation: Relation) -> None:
    on_delete = relation.field.remote_field.on_delete
    assert isinstance(on_delete, AdoptedOnDelete)
    assert on_delete.lazy_sub_objs
    assert policies.declared_on_delete(relation.field) is on_delete.declared
    assert not isinstance(on_delete.declared, AdoptedOnDelete)


def test_do_nothing_needs_no_adoption() -> None:
    [relation] = [each for each in RELATIONS if each.label == "right.Untouched.giver"]
    assert relation.field.remote_field.on_delete is models.DO_NOTHING


def test_a_key_inside_one_database_keeps_its_on_delete() -> None:
    assert Comment._meta.get_field("post").remote_field.on_delete is models.CASCADE


@pytest.mark.parametrize("relation", ADOPTED, ids=by_label)
def test_an_adopted_field_deconstructs_to_what_was_declared(relation: Relation) -> None:
    _, path, _, kwargs = relation.field.deconstruct()
    one_to_one = relation.field.one_to_one
    assert path == f"django.db.models.{'OneToOneField' if one_to_one else 'ForeignKey'}"
    assert kwargs["on_delete"] is relation.on_delete
    text, imports = MigrationWriter.serialize(relation.field)
    assert "Adopted" not in text
    assert "apps.integrity" not in text
    assert not any("integrity" in each for each in imports)


@pytest.mark.parametrize("relation", ADOPTED, ids=by_label)
def test_a_clone_is_declared_and_not_adopted(relation: Relation) -> None:
    clone = relation.field.clone()
    assert clone.deconstruct()[1:] == relation.field.deconstruct()[1:]
    assert not isinstance(clone.remote_field.on_delete, AdoptedOnDelete)


def test_adopting_twice_changes_nothing() -> None:
    before = [(type(each.field), each.field.remote_field.on_delete.declared) for each in ADOPTED]
    collector.adopt(relations.discover())
    after = [(type(each.field), each.field.remote_field.on_delete.declared) for each in ADOPTED]
    assert after == before
    assert all(each.field.deconstruct()[3]["on_delete"] is each.on_delete for each in ADOPTED)


@pytest.mark.parametrize("relation", ADOPTED, ids=by_label)
def test_the_collector_passes_over_what_is_left_to_the_cascade(relation: Relation) -> None:
    """By `==` (Django 5.2), and as a member of a set (Django 6.1).

    Not over what a database would carry out: between databases the Collector has to refuse that.
    """
    policy, on_delete = relation.policy, relation.field.remote_field.on_delete
    left_to_the_cascade = policy.cascades and policy is not Policy.CUSTOM and not policy.by_database
    left_to_the_cascade &= relation.label not in PROTECTED_BELOW
    assert (on_delete == models.DO_NOTHING) is left_to_the_cascade
    passed_over = getattr(deletion, "SKIP_COLLECTION", frozenset({models.DO_NOTHING}))
    assert (on_delete in passed_over) is left_to_the_cascade


def test_a_stand_in_equals_what_it_stands_for() -> None:
    cascade, null = (
        model._meta.get_field(name).remote_field.on_delete
        for model, name in ((Post, "author"), (left.Nulled, "giver"))
    )
    assert cascade == models.CASCADE
    assert null == models.SET_NULL
    assert null in [models.SET_NULL, models.SET_DEFAULT]
    assert cascade != null
    assert null != models.CASCADE


@pytest.fixture
def adopted_child() -> Iterator[Any]:
    def declare(**options: Any) -> models.Field[Any, Any]:
        class Child(models.Model):  # noqa: DJ008
            key = left.across(parents.Owner, **options)

            class Meta:
                app_label = "left"

        field: Any = Child._meta.get_field("key")
        relation = crossing.relation_of(field)
        assert relation is not None
        collector.adopt(relations.Catalogue((relation,)))
        assert isinstance(field.remote_field.on_delete, AdoptedOnDelete)
        return field

    with isolate_apps("tests.kinds.left"):
        yield declare


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"on_delete": models.SET_NULL}, ["fields.E320"]),
        ({"on_delete": models.SET_NULL, "null": True}, []),
        ({"on_delete": models.SET_DEFAULT}, ["fields.E321"]),
        ({"on_delete": models.SET_DEFAULT, "default": 1}, []),
    ],
)
def test_djangos_checks_of_the_policy_still_fire(
    adopted_child: Any, options: dict[str, Any], expected: list[str]
) -> None:
    found = [each.id for each in adopted_child(**options).check()]
    # fields.E300: the parent is not in the isolated registry.
    assert [each for each in found if each != "fields.E300"] == expected


@pytest.mark.parametrize(
    ("on_delete", "name"),
    [(models.SET_NULL, "SET_NULL"), (functools.partial(models.CASCADE), "partial")],
)
def test_djangos_messages_can_name_the_declared_policy(
    adopted_child: Any, on_delete: Any, name: str
) -> None:
    # Those of Django 6.1 ask for `on_delete.__name__`.
    assert adopted_child(on_delete=on_delete).remote_field.on_delete.__name__ == name


def test_a_subclass_of_foreign_key_keeps_its_own_deconstruction(adopted_child: Any) -> None:
    class Labelled(models.ForeignKey[Any, Any]):
        def deconstruct(self) -> Any:
            name, _, args, kwargs = super().deconstruct()
            return name, "somewhere.Labelled", args, {**kwargs, "help_text": "mine"}

    class Child(models.Model):  # noqa: DJ008
        key = Labelled(parents.Owner, models.CASCADE, related_name="+")

        class Meta:
            app_label = "left"

    field: Any = Child._meta.get_field("key")
    relation = crossing.relation_of(field)
    assert relation is not None
    collector.adopt(relations.Catalogue((relation,)))
    assert isinstance(field, Labelled)
    _, path, _, kwargs = field.deconstruct()
    assert (path, kwargs["help_text"]) == ("somewhere.Labelled", "mine")
    assert kwargs["on_delete"] is models.CASCADE


def test_historical_models_are_recorded_and_their_state_keeps_what_was_declared() -> None:
    states = [ModelState.from_model(each) for each in (User, Post, Comment)]
    state = ProjectState()
    for each in states:
        if each.app_label != "auth":
            state.add_model(each)
    operation = migrations.CreateModel(
        "User", [("id", models.BigAutoField(primary_key=True))], options={"swappable": ""}
    )
    operation.state_forwards("auth", state)
    historical = state.apps.get_model("blog", "Post")._meta.get_field("author")
    assert historical.remote_field.on_delete is models.DO_NOTHING
    declared = state.models["blog", "post"].fields["author"]
    assert declared.remote_field.on_delete == models.CASCADE
    assert pre_delete.has_listeners(state.apps.get_model("auth", "User"))
    assert not pre_delete.has_listeners(state.apps.get_model("blog", "Post"))


@pytest.mark.parametrize("model", [Order, Comment, Category, left.Item, parents.Tenant])
def test_a_model_that_is_no_parent_keeps_its_fast_delete(model: type[models.Model]) -> None:
    assert not pre_delete.has_listeners(model)
    assert not post_delete.has_listeners(model)


@pytest.mark.parametrize(
    "model",
    [User, parents.Owner, parents.OwnerProxy, parents.Place, parents.Restaurant, left.Book],
)
def test_every_tracked_parent_and_its_proxies_are_listened_to(model: type[models.Model]) -> None:
    assert pre_delete.has_listeners(model)
    assert post_delete.has_listeners(model)
