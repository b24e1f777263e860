"""The strategy by which a cascade changes the rows of a relation. Pure: no queries.

CASCADE is *set-based* if Django itself would delete every level without loading an object: at no
level is there a signal receiver, a PROTECT or RESTRICT, a parent table or a generic relation.
Otherwise Django's Collector deletes the rows in bounded batches, and the plan states the reason.

Note [Left to the database]: since Django 6.1, a constraint may carry out an `on_delete` (DB_CASCADE
and others). A set-based cascade still changes such rows itself, before those that they refer to: so
they are counted, and no statement grows with their number. Where it cannot, and below what Django's
Collector deletes, the database changes them, and nobody counts them.
"""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.deletion import get_candidate_relations_to_delete
from django.db.models.signals import post_delete, pre_delete

from ..exceptions import UnusablePolicy
from .dry_run import dry_run, value_set
from .homes import databases_for
from .keys import parse_key, to_stored, writes_text
from .policies import Policy, declared_on_delete, is_builtin, policy_of
from .relation import label

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .relation import ForeignKey, Model, Relation


class Strategy(enum.StrEnum):
    """How a cascade changes the rows of a relation."""

    SET_BASED = "set-based"
    COLLECTOR = "collector"
    UPDATE = "update"


@dataclass(frozen=True)
class Node:
    """Rows that refer through `field`, and the rows of the same database that refer to them.

    An `update` node keeps its rows and changes the key. Only nodes whose rows are deleted have
    nodes below.
    """

    field: ForeignKey
    update: bool = False
    below: tuple[Node, ...] = ()

    @functools.cached_property
    def label(self) -> str:
        """The key's name, such as "blog.Comment.post"."""
        return label(self.field)

    @functools.cached_property
    def all(self) -> tuple[Node, ...]:
        """The node and all nodes below it, the root first."""
        return (self, *(node for sub in self.below for node in sub.all))


@dataclass(frozen=True, slots=True)
class Plan:
    """A strategy, the tree of keys to process, and the reason for not being set-based.

    `uncounted` are keys whose rows the database changes: see Note [Left to the database].
    """

    strategy: Strategy
    root: Node
    reason: str = ""
    uncounted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Cascade:
    """The part of a plan that depends on the models only. Signal receivers may change at any time.

    `models` are those whose rows are deleted, in the order in which Django visits them, up to the
    first `blocker`: a reason why Django would have to load rows, or "". `constraints` are the keys
    whose `on_delete` is the database's.
    """

    root: Node
    models: tuple[Model, ...]
    blocker: str
    constraints: tuple[str, ...]


def plan_for(relation: Relation) -> Plan:
    """Return the plan of a relation whose policy cascades."""
    if relation.policy is not Policy.CASCADE:
        return Plan(Strategy.UPDATE, Node(relation.field, update=True))
    cascade: _Cascade | None = relation.derived.get("cascade")
    if cascade is None:
        cascade = relation.derived["cascade"] = _cascade(relation.field)
    reason = cascade.blocker
    for model in cascade.models:
        if pre_delete.has_listeners(model) or post_delete.has_listeners(model):
            reason = f"{model._meta.label} has delete signal receivers"
            break
    if reason:
        return Plan(Strategy.COLLECTOR, cascade.root, reason, cascade.constraints)
    counted = {node.label for node in cascade.root.all} if cascade.constraints else set()
    left = tuple(label for label in cascade.constraints if label not in counted)
    return Plan(Strategy.SET_BASED, cascade.root, uncounted=left)


def _cascade(field: ForeignKey) -> _Cascade:
    models, blocker = [], ""
    for model, blocker in _levels(field, (field.model,)):
        models.append(model)
        if blocker:
            break
    root, constraints = _node(field, (field.model,)), _constraints(field, (field.model,))
    return _Cascade(root, (*dict.fromkeys(models),), blocker, (*dict.fromkeys(constraints),))


def _levels(field: ForeignKey, path: tuple[Model, ...]) -> Iterator[tuple[Model, str]]:
    """Yield each model whose rows are deleted along `field`, and each blocker with its model."""
    model = field.model
    yield model, ""
    if any(model._meta.concrete_model._meta.parents.values()):  # type: ignore[union-attr]
        yield model, f"{model._meta.label} inherits from another table"
    for private in model._meta.private_fields:
        if hasattr(private, "bulk_related_objects"):
            yield model, f"{model._meta.label} has a generic relation"
    for key in referring(model):
        policy = policy_of(key)
        if policy.by_database:
            continue  # Django loads none of these rows, and sends no signals for them
        if blocker := _blocker(key, policy, path):
            yield model, blocker
        elif policy is Policy.CASCADE:
            yield from _levels(key, (*path, key.model))


def _blocker(key: ForeignKey, policy: Policy, path: tuple[Model, ...]) -> str:
    """Return why the key makes Django load the rows that it refers to; "" if it does not."""
    if policy is not Policy.DO_NOTHING and not key.target_field.primary_key:
        return f"{label(key)} holds another field than the primary key"
    if policy.protects or policy is Policy.CUSTOM:
        return f"{label(key)} is {policy}"
    if not is_builtin(key):
        return f"the on_delete of {label(key)} is a wrapper of {policy}"
    if policy is Policy.CASCADE and key.model in path:
        return f"{label(key)} closes a circle"
    return ""


def _node(field: ForeignKey, path: tuple[Model, ...]) -> Node:
    """Return the tree below `field` inside its own database. A cycle is followed once."""
    below = []
    for key, policy in _followed(field):
        if policy.by_database and _is_left(key, policy, path):
            continue
        if policy.deletes and key.model not in path:
            below.append(_node(key, (*path, key.model)))
        else:
            below.append(Node(key, update=not policy.deletes))
    return Node(field, below=tuple(below))


def _constraints(field: ForeignKey, path: tuple[Model, ...]) -> Iterator[str]:
    """Yield the keys below `field` whose `on_delete` the database carries out."""
    for key, policy in _followed(field):
        if policy.by_database:
            yield label(key)
        if policy.deletes and key.model not in path:
            yield from _constraints(key, (*path, key.model))


def _followed(field: ForeignKey) -> Iterator[tuple[ForeignKey, Policy]]:
    """Yield the keys to rows of `field` in its own database that a cascade follows.

    Below rows that the database deletes, Django follows none: only the database's own are left.
    """
    by_database = policy_of(field).by_database
    for key in referring(field.model):
        policy = policy_of(key)
        if policy is Policy.DO_NOTHING or databases_for(key.model) != databases_for(field.model):
            continue
        if policy.by_database or not by_database:
            yield key, policy


def _is_left(key: ForeignKey, policy: Policy, path: tuple[Model, ...]) -> bool:
    """Return whether only the database can carry it out: see Note [Left to the database]."""
    if not key.target_field.primary_key or (policy.deletes and key.model in path):
        return True
    return policy is Policy.DB_SET_DEFAULT and database_default(key) is models.NOT_PROVIDED


def database_default(field: ForeignKey) -> Any:
    """Return the value of the column's default; NOT_PROVIDED if only the database knows it."""
    default = field.db_default
    if isinstance(default, models.Value):
        default = default.value
    return models.NOT_PROVIDED if hasattr(default, "resolve_expression") else default


def referring(model: Model) -> list[ForeignKey]:
    """Return the keys that Django's Collector follows from `model`."""
    candidates: Iterable[Any] = get_candidate_relations_to_delete(model._meta)
    keys = [candidate.field for candidate in candidates]
    # The stand-in of an ignored relation has this attribute (capture/collector.py).
    return [key for key in keys if not getattr(key.remote_field.on_delete, "ignored", "")]


def replacement(field: ForeignKey, using: str) -> Any:
    """Return the value that the field's policy writes into rows whose parent is gone.

    The callable of a `SET(…)` is called each time, as Django does. If it returns an instance, the
    value is that instance's key. Raises `UnusablePolicy` if the `on_delete` does anything else than
    set one value.
    """
    policy = policy_of(field)
    if policy.by_database:
        value: Any = None if policy is Policy.DB_SET_NULL else database_default(field)
    else:
        value = _value_set(field, using)
    if isinstance(value, models.Model):
        value = to_stored(field, getattr(value, field.target_field.attname))
    if writes_text(field):
        return parse_key(field, value)
    # Converted to the type that rows store: a UUID may be declared as text.
    return None if value is None else field.target_field.to_python(value)


def _value_set(field: ForeignKey, using: str) -> Any:
    try:
        return value_set(dry_run(declared_on_delete(field), field, using))
    except UnusablePolicy as error:
        raise UnusablePolicy(
            f"{label(field)}: across databases its on_delete can only set a value, and {error}"
        ) from error
