"""The graph of models and keys that a delete follows. Pure: no queries.

It contains the keys with PROTECT, RESTRICT and CASCADE, and tells which of them may refuse a delete
and which lead to one that may.

Note [Carried]: inside one database, a path is a nested subquery that the server evaluates. If a
path leaves its database, closes a cycle or follows a GenericRelation, keys are read and carried to
the next query.

Note [Parent links]: deleting a row of a multi-table child deletes its parent's row, and the other
way round. So a parent link is an edge in both directions.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import models

from . import homes
from . import relation as relations_relation
from .policies import Policy, policy_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .discovery import Catalogue
    from .relation import Model, Relation


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Edge:
    """A key: rows of `child` store in `key` the value that a row of `parent` has in `source`."""

    parent: Model
    source: str
    child: Model
    key: str
    policy: Policy
    #: As in "blog.Post.author".
    label: str
    #: Model and field, as Django's errors name them.
    names: tuple[str, str]
    #: None where parent and child are in one database.
    relation: Relation | None = None
    #: The GenericRelation that it is, if it is one.
    generic: Any = None

    @property
    def may_refuse(self) -> bool:
        """Whether rows along it may refuse the delete: PROTECT or RESTRICT."""
        return self.policy.protects

    def databases(self, parents: str) -> tuple[str, ...]:
        """Return the databases of rows that refer to a parent in the database `parents`."""
        return (parents,) if self.relation is None else self.relation.child_databases

    def parent_databases(self, children: str) -> tuple[str, ...]:
        """Return the databases of parents to which rows in the database `children` refer."""
        return (children,) if self.relation is None else self.relation.parent_databases


class Graph:
    """The edges of PROTECT, RESTRICT and CASCADE, by parent (`below`) and child (`above`)."""

    def __init__(self, edges: Iterable[Edge]) -> None:
        self.below: dict[Model, list[Edge]] = defaultdict(list)
        #: Only CASCADE.
        self.above: dict[Model, list[Edge]] = defaultdict(list)
        refusing = []
        for edge in edges:
            self.below[edge.parent].append(edge)
            if edge.may_refuse:
                refusing.append(edge)
            else:
                self.above[edge.child].append(edge)
        #: Models whose delete may be refused, by their own children or further down.
        self.asking = self._over(edge.parent for edge in refusing)
        restricted = (edge.child for edge in refusing if edge.policy is Policy.RESTRICT)
        #: Also models whose delete removes restricted rows, which then refuse no more.
        self.leading = self.asking | self._over(restricted)
        self._circular = {edge for edge in self._cascades() if self._returns(edge)}

    def asks(self, relation: Relation) -> bool:
        """Return whether a delete of the relation's parent has to be checked because of it."""
        policy = relation.policy
        return policy.protects or (policy is Policy.CASCADE and relation.child in self.leading)

    def follow(self, model: Model) -> list[Edge]:
        """Return the edges that lead from the model to one that may refuse."""
        return [edge for edge in self.below[model] if edge.may_refuse or edge.child in self.asking]

    def leaving(self, model: Model) -> list[Edge]:
        """Return the edges into other databases to check for a row that Django collected."""
        return [edge for edge in self.towards(model) if edge.relation is not None]

    def towards(self, model: Model) -> list[Edge]:
        """Return the edges of the model along which rows are checked."""
        return [edge for edge in self.below[model] if edge.may_refuse or edge.child in self.leading]

    def nested(self, edge: Edge) -> bool:
        """Return whether the edge can be a nested subquery: see Note [Carried]."""
        return edge.relation is None and edge.generic is None and edge not in self._circular

    def beyond(self, collected: Iterable[Model]) -> set[Model]:
        """Return the models whose rows may be deleted along a path through another database."""
        near = self._under(collected)
        crossing = (edge for model in near for edge in self.below[model] if edge.relation)
        return self._under(edge.child for edge in crossing if not edge.may_refuse)

    def _cascades(self) -> Iterator[Edge]:
        return (edge for model in self.leading for edge in self.above[model])

    def _returns(self, edge: Edge) -> bool:
        return edge.parent in self._under([edge.child])

    def _over(self, starts: Iterable[Model]) -> set[Model]:
        return _closure(starts, lambda model: (edge.parent for edge in self.above[model]))

    def _under(self, starts: Iterable[Model]) -> set[Model]:
        return _closure(
            starts, lambda model: (edge.child for edge in self.below[model] if not edge.may_refuse)
        )


def _closure(starts: Iterable[Model], step: Callable[[Model], Iterable[Model]]) -> set[Model]:
    seen: set[Model] = set()
    waiting = [*starts]
    while waiting:
        model = waiting.pop()
        if model not in seen:
            seen.add(model)
            waiting += step(model)
    return seen


_built: list[tuple[Catalogue, Graph]] = []


def graph_of(catalogue: Catalogue) -> Graph:
    """Return the graph of a catalogue. The last one is cached."""
    if not _built or _built[0][0] is not catalogue:
        _built[:] = [(catalogue, Graph(_edges(catalogue)))]
    return _built[0][1]


def _edges(catalogue: Catalogue) -> Iterator[Edge]:
    crossing = {tracked.label for tracked in (*catalogue.relations, *catalogue.ignored)}
    for relation in catalogue.relations:
        if relation.policy.protects or relation.policy is Policy.CASCADE:
            yield _of_relation(relation)
    for model in apps.get_models(include_auto_created=True):
        if not model._meta.proxy:
            for field in _keys(model):
                if relations_relation.label(field) not in crossing:
                    yield from _of_key(field)
            for generic in model._meta.private_fields:
                yield from _of_generic(model, generic)


def _keys(model: Model) -> Iterator[models.ForeignKey[Any, Any]]:
    """Yield the model's own keys. Django's checks report keys to models that do not exist."""
    for field in model._meta.local_fields:
        if isinstance(field, models.ForeignKey) and not isinstance(field.remote_field.model, str):
            yield field


def _of_relation(relation: Relation) -> Edge:
    model, _, name = relation.label.rpartition(".")
    if relation.field.is_relation:
        model, name = relation.child.__name__, relation.field.name
    return Edge(
        parent=relation.parent,
        source=relation.target.attname,
        child=relations_relation.concrete(relation.child),
        key=relation.field.attname,
        policy=relation.policy,
        label=relation.label,
        names=(model, name),
        relation=relation,
    )


def _of_key(field: models.ForeignKey[Any, Any]) -> Iterator[Edge]:
    policy = policy_of(field)
    policy = Policy.CASCADE if policy.deletes else policy  # whoever carries it out
    label, names = relations_relation.label(field), (field.model.__name__, field.name)
    parent, child = (
        relations_relation.concrete(field.remote_field.model),
        relations_relation.concrete(field.model),
    )
    if set(homes.databases_for(parent)) != set(homes.databases_for(child)):
        return  # to content types of an unknown database
    target: str = field.target_field.attname
    if policy.protects or policy is Policy.CASCADE:
        yield Edge(
            parent=parent,
            source=target,
            child=child,
            key=field.attname,
            policy=policy,
            label=label,
            names=names,
        )
    if field.remote_field.parent_link:
        yield Edge(
            parent=child,
            source=field.attname,
            child=parent,
            key=target,
            policy=Policy.CASCADE,
            label=label,
            names=names,
        )


def _of_generic(model: Model, field: Any) -> Iterator[Edge]:
    """Yield the edge of a GenericRelation into the model's own database: it cascades."""
    if not hasattr(field, "bulk_related_objects") or not hasattr(field, "object_id_field_name"):
        return
    child = relations_relation.concrete(field.remote_field.model)
    if homes.databases_for(child) == homes.databases_for(model):
        yield Edge(
            parent=relations_relation.concrete(model),
            source=relations_relation.primary_key(model).attname,
            child=child,
            key=field.object_id_field_name,
            policy=Policy.CASCADE,
            label=f"{model._meta.label}.{field.name}",
            names=(model.__name__, field.name),
            generic=field,
        )
