"""What a relation's policy means in the child's database, decided before anything is touched.

Takes a relation; gives a `Plan`. Pure: no queries.

CASCADE is *set-based* where Django itself would delete every level without loading an object: no
signal receiver, no PROTECT or RESTRICT, no parent table, no generic relation on the way. Else
Django's Collector does it, on bounded batches, and the plan says why.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.deletion import get_candidate_relations_to_delete
from django.db.models.signals import post_delete, pre_delete

from .exceptions import UnusablePolicy
from .policies import Policy, declared_on_delete, is_plain, policy_of, tried, value_set
from .relations import as_held, databases_for, label, parse_key, writes_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .relations import ForeignKey, Model, Relation


class Way(enum.StrEnum):
    """How the rows of a relation are dealt with."""

    SET_BASED = "set-based"
    COLLECTOR = "collector"
    UPDATE = "update"


@dataclass(frozen=True, slots=True)
class Node:
    """Rows that refer through `field`, and what refers to them inside the same database.

    An `update` node keeps its rows and changes the key; only rows that go have nodes below.
    """

    field: ForeignKey
    update: bool = False
    below: tuple[Node, ...] = ()

    @property
    def label(self) -> str:
        """The key's name, as in "blog.Comment.post"."""
        return label(self.field)


def nodes(node: Node) -> Iterator[Node]:
    """All nodes of a tree, its root first."""
    yield node
    for sub in node.below:
        yield from nodes(sub)


def labels(node: Node) -> Iterator[str]:
    """The names of all keys of a tree, its root's first."""
    return (each.label for each in nodes(node))


@dataclass(frozen=True, slots=True)
class Plan:
    """The way of a relation, the tree to walk leaf first, and why it is not a faster way."""

    way: Way
    root: Node
    reason: str = ""


def plan(relation: Relation) -> Plan:
    """The plan of a relation whose policy cascades."""
    field = relation.field
    if relation.policy is not Policy.CASCADE:
        return Plan(Way.UPDATE, Node(field, update=True))
    hurdle = next(_hurdles(field, (field.model,)), "")
    way = Way.COLLECTOR if hurdle else Way.SET_BASED
    return Plan(way, _node(field, (field.model,)), hurdle)


def _hurdles(field: ForeignKey, path: tuple[Model, ...]) -> Iterator[str]:
    """Why Django would have to load the rows that refer through `field`."""
    model = field.model
    name = model._meta.label
    if pre_delete.has_listeners(model) or post_delete.has_listeners(model):
        yield f"{name} has delete signal receivers"
    if any(model._meta.concrete_model._meta.parents.values()):  # type: ignore[union-attr]
        yield f"{name} inherits from another table"
    for each in model._meta.private_fields:
        if hasattr(each, "bulk_related_objects"):
            yield f"{name} has a generic relation"
    for key in _referring(model):
        policy = policy_of(key)
        if hurdle := _hurdle(key, policy, path):
            yield hurdle
        elif policy is Policy.CASCADE:
            yield from _hurdles(key, (*path, key.model))


def _hurdle(key: ForeignKey, policy: Policy, path: tuple[Model, ...]) -> str:
    """Why the key itself makes Django load the rows that it refers to; "" where it does not."""
    if policy is not Policy.DO_NOTHING and not key.target_field.primary_key:
        return f"{label(key)} holds another field than the primary key"
    if policy.checked_at_once or policy is Policy.CUSTOM:
        return f"{label(key)} is {policy}"
    if not is_plain(key):
        return f"the on_delete of {label(key)} is a wrapper of {policy}"
    if policy is Policy.CASCADE and key.model in path:
        return f"{label(key)} closes a circle"
    return ""


def _node(field: ForeignKey, path: tuple[Model, ...]) -> Node:
    """The tree below `field`, inside its own database; a circle is followed once."""
    below = []
    for key in _referring(field.model):
        policy = policy_of(key)
        if policy is Policy.DO_NOTHING or databases_for(key.model) != databases_for(field.model):
            continue
        if policy is Policy.CASCADE and key.model not in path:
            below.append(_node(key, (*path, key.model)))
        else:
            below.append(Node(key, update=policy is not Policy.CASCADE))
    return Node(field, below=tuple(below))


def _referring(model: Model) -> list[ForeignKey]:
    """The keys that Django's Collector follows from `model`."""
    found: Iterable[Any] = get_candidate_relations_to_delete(model._meta)
    return [each.field for each in found]


def replacement(field: ForeignKey, using: str) -> Any:
    """The key value that the field's policy puts in place of a parent that is gone.

    A callable of `SET(…)` is called anew each time, as Django does; an instance gives its key.
    Raises `UnusablePolicy` where the `on_delete` does anything but set a value.
    """
    try:
        value = value_set(tried(declared_on_delete(field), field, using))
    except UnusablePolicy as error:
        raise UnusablePolicy(
            f"{label(field)}: across databases its on_delete can only set a value, and {error}"
        ) from error
    if isinstance(value, models.Model):
        value = as_held(field, getattr(value, field.target_field.attname))
    if writes_text(field):
        return parse_key(field, value)
    # As rows hold it: a UUID may be declared as its text.
    return None if value is None else field.target_field.to_python(value)
