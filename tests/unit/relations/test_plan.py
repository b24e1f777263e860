"""Plans: set-based where Django itself would not load a row, else Django's Collector, and why."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.db import models
from django.db.models.signals import post_delete, pre_delete

from apps.blog.models import Comment
from apps.integrity import relations
from apps.integrity.exceptions import CrossDatabaseError, UnusablePolicy
from apps.integrity.relations import plan
from apps.integrity.relations.plan import Node, Strategy
from tests.kinds.left import models as left

BY_LABEL = {each.label: each for each in relations.catalogue().relations}


def plan_of(label: str) -> plan.Plan:
    return plan.plan_for(BY_LABEL[label])


def tree(node: Node) -> Any:
    label = f"{node.label} (set)" if node.update else node.label
    return {label: [tree(each) for each in node.below]} if node.below else label


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("shop.Order.customer", "shop.Order.customer"),
        ("blog.Post.author", {"blog.Post.author": ["blog.Comment.post"]}),
        ("left.Profile.owner", "left.Profile.owner"),
        ("left.Team_members.owner", "left.Team_members.owner"),
        (
            "left.Shelf.root",
            {
                "left.Shelf.root": [
                    {"left.Box.shelf": ["left.Item.box"]},
                    "left.Label.shelf (set)",
                ]
            },
        ),
    ],
)
def test_a_cascade_without_hurdles_is_set_based_through_the_whole_tree(
    label: str, expected: object
) -> None:
    found = plan_of(label)
    assert found.strategy is Strategy.SET_BASED
    assert found.reason == ""
    assert tree(found.root) == expected


@pytest.mark.parametrize(
    ("label", "why"),
    [
        ("left.Vault.safe", "left.Seal.vault is PROTECT"),
        ("left.Node.forest", "left.Node.above closes a circle"),
        ("left.Picture.album", "left.Picture has a generic relation"),
        ("left.Base.lineage", "left.Derived inherits from another table"),
        ("left.Book.library", "left.Book has delete signal receivers"),
    ],
)
def test_what_django_would_load_is_left_to_django_and_the_plan_says_why(
    label: str, why: str
) -> None:
    found = plan_of(label)
    assert found.strategy is Strategy.COLLECTOR
    assert found.reason == why


def test_keys_below_that_hold_another_field_than_the_primary_key_are_left_to_django() -> None:
    found = plan_of("left.Numbered.series")
    assert found.strategy is Strategy.COLLECTOR
    assert "left.NumberedPart.numbered" in found.reason


@pytest.mark.parametrize("signal", [pre_delete, post_delete])
@pytest.mark.parametrize("model", [left.Shelf, left.Box, left.Item])
def test_a_signal_receiver_on_any_level_is_seen_when_it_is_connected(
    model: type[models.Model], signal: Any
) -> None:
    def receiver(**_: object) -> None: ...

    signal.connect(receiver, sender=model)
    try:
        found = plan_of("left.Shelf.root")
    finally:
        signal.disconnect(receiver, sender=model)
    assert found.reason == f"{model._meta.label} has delete signal receivers"
    assert plan_of("left.Shelf.root").strategy is Strategy.SET_BASED


@pytest.mark.parametrize(
    "name", ["Nulled", "Defaulted", "Valued", "Called", "Instanced", "Customised"]
)
def test_other_policies_are_updates(name: str) -> None:
    found = plan_of(f"left.{name}.giver")
    assert found.strategy is Strategy.UPDATE
    assert found.root == Node(BY_LABEL[f"left.{name}.giver"].field, update=True)


@pytest.mark.parametrize(
    ("model", "value"),
    [
        (left.Nulled, None),
        (left.Defaulted, left.DEFAULT),
        (left.Valued, left.VALUE),
        (left.Called, left.CALLED),
        (left.Instanced, left.INSTANCE),
        (left.Customised, left.CUSTOM),
    ],
)
def test_the_replacement_is_the_key_that_the_policy_sets(
    model: type[models.Model], value: int | None
) -> None:
    field: Any = model._meta.get_field("giver")
    assert plan.replacement(field, "test_left") == value


@pytest.mark.parametrize(
    ("key", "given", "held"),
    [
        ("left.TokenUse.token", str(uuid.UUID(int=7)), uuid.UUID(int=7)),
        ("left.TokenUse.token", uuid.UUID(int=7).hex, uuid.UUID(int=7)),
        ("left.Called.giver", "7", 7),
    ],
)
def test_a_replacement_is_as_rows_hold_it(
    key: str, given: str, held: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "declared_on_delete", lambda _: models.SET(given))
    assert plan.replacement(BY_LABEL[key].field, "test_left") == held


def test_a_callable_is_called_anew_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([1, 2])
    field: Any = left.Called._meta.get_field("giver")
    declared = models.SET(lambda: next(values))
    monkeypatch.setattr(plan, "declared_on_delete", lambda _: declared)
    assert [plan.replacement(field, "test_left") for _ in range(2)] == [1, 2]


def test_a_policy_that_needs_the_whole_collector_is_refused_by_name() -> None:
    field: Any = left.Collected._meta.get_field("stubborn")
    with pytest.raises(UnusablePolicy, match=r"left\.Collected\.stubborn: .*collect") as caught:
        plan.replacement(field, "test_left")
    assert isinstance(caught.value, CrossDatabaseError)


def test_a_policy_that_sets_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "declared_on_delete", lambda _: lambda *_: None)
    field: Any = left.Called._meta.get_field("giver")
    with pytest.raises(UnusablePolicy, match="sets no value"):
        plan.replacement(field, "test_left")


def test_every_strategy_is_that_of_some_relation() -> None:
    strategies = {
        plan.plan_for(each).strategy for each in BY_LABEL.values() if each.policy.cascades
    }
    assert strategies == set(Strategy)


def test_a_model_that_nothing_refers_to_is_a_leaf() -> None:
    assert plan.referring(Comment) == []
