"""What Django's Collector leaves is what the set-based way leaves, whatever the data look like."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.db.models import QuerySet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.blog.models import Comment, Post
from apps.integrity import capture, cascade
from apps.integrity.cascade import time_slice
from apps.integrity.log import outcomes
from apps.integrity.queues import dispatch
from apps.integrity.relations import homes
from apps.integrity.relations.plan import Strategy, plan_for
from tests.kinds.left.models import Box, Item, Label, Shelf
from tests.kinds.lite.models import Line, Note
from tests.kinds.parents.models import Mixed, Root

if TYPE_CHECKING:
    from apps.integrity.relations import Relation
    from apps.integrity.relations.plan import Plan
    from tests.conftest import Tune

pytestmark = pytest.mark.usefixtures("committed")

KEYS = range(1, 6)
#: For each tree: its parent model, and its models from the root down with the keys of each. A key
#: is the parent model, or a model above it.
TREES: dict[str, tuple[type, tuple[tuple[type, dict[str, type]], ...]]] = {
    "two keys, one tree": (
        User,
        ((Post, {"author": User}), (Comment, {"author": User, "post": Post})),
    ),
    "three levels and a SET_NULL": (
        Root,
        ((Shelf, {"root": Root}), (Box, {"shelf": Shelf}), (Item, {"box": Box}),
         (Label, {"shelf": Shelf})),
    ),
    "SQLite": (Mixed, ((Note, {"mixed": Mixed}), (Line, {"note": Note}))),
}  # fmt: skip

Picks = list[list[int]]
#: For each model of a tree, which row above each of its rows hangs on.
DATA = st.lists(
    st.lists(st.integers(min_value=0, max_value=99), max_size=12), min_size=4, max_size=4
)


def home(model: type) -> str:
    return homes.databases_for(model)[0]


def filled(tree: str, data: Picks) -> None:
    """The rows that `data` says; of parents that are not there, for only keys matter."""
    parent, levels = TREES[tree]
    there: dict[type, list[int]] = {parent: list(KEYS)}
    for model, _ in reversed(levels):
        QuerySet(model=model, using=home(model))._raw_delete(home(model))
    for (model, keys), picks in zip(levels, data, strict=False):
        if any(not there[above] for above in keys.values()):
            there[model] = []
            continue
        rows = [
            model(
                pk=number,
                **{
                    f"{name}_id": there[above][(pick + at) % len(there[above])]
                    for at, (name, above) in enumerate(keys.items())
                },
            )
            for number, pick in enumerate(picks, start=1)
        ]
        QuerySet(model=model, using=home(model)).bulk_create(rows)
        there[model] = [row.pk for row in rows]


def left(tree: str) -> dict[str, list[tuple[Any, ...]]]:
    return {
        model.__name__: list(
            QuerySet(model=model, using=home(model))
            .order_by("pk")
            .values_list("pk", *(f"{name}_id" for name in keys))
        )
        for model, keys in TREES[tree][1]
    }


def cascaded(tree: str, data: Picks, gone: list[int]) -> dict[str, list[tuple[Any, ...]]]:
    """What is left of the tree when those parents are deleted."""
    filled(tree, data)
    capture.record((TREES[tree][0], gone), using="default")
    _, due = dispatch.sweep("default")
    for database in sorted(due):
        while cascade.drain(database).more:
            pass
    return left(tree)


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("rows", [1, 3, 1_000])
def test_both_ways_leave_the_same(
    tree: str, rows: int, tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(statement_rows=rows, statement_rows_max=rows)
    monkeypatch.setattr(outcomes, "MOMENT_SECONDS", 0.0)

    def collected(relation: Relation) -> Plan:
        found = plan_for(relation)
        strategy = Strategy.COLLECTOR if found.strategy is Strategy.SET_BASED else found.strategy
        return dataclasses.replace(found, strategy=strategy)

    @settings(max_examples=12, derandomize=True, database=None, deadline=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(data=DATA, gone=st.lists(st.sampled_from(KEYS), min_size=1, max_size=5, unique=True))
    def agree(data: Picks, gone: list[int]) -> None:
        set_based = cascaded(tree, data, gone)
        with monkeypatch.context() as patch:
            patch.setattr(time_slice, "plan_for", collected)
            assert cascaded(tree, data, gone) == set_based
        roots = set_based[TREES[tree][1][0][0].__name__]
        assert not {row[1] for row in roots} & set(gone)

    agree()
    for alias in connections:
        connections[alias].close()


def test_the_set_based_way_is_what_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else both sides would be the Collector's."""
    strategies: list[Strategy] = []

    def seen(relation: Relation) -> Plan:
        strategies.append(plan_for(relation).strategy)
        return plan_for(relation)

    monkeypatch.setattr(time_slice, "plan_for", seen)
    for tree in TREES:
        cascaded(tree, [[0, 1], [0, 1], [0], [0]], [1])
    assert strategies
    assert set(strategies) == {Strategy.SET_BASED}
