"""Keeps Django's Collector from querying the parent's database for children in other databases.

Replaces the `on_delete` of each relation by one that is safe to call while a parent is deleted. The
fields still deconstruct to what their author wrote, so migrations do not change.

Note [The Collector asks one database]: `Collector(using)` looks for children in the parent's
database, whatever the routers say (django/db/models/deletion.py, `related_objects`). With a
cross-database key this raises before `pre_delete` is sent, or after the remote rows are gone.
With Django's `lazy_sub_objs`, `on_delete` gets the query without running it.

Note [A column's guard]: the Collector does not know a declared column, so it queries nothing for
it. If PROTECT or RESTRICT has to be checked, a `Guard` is added to the parent's private fields.
`get_fields()` lists it among the relations, so Django calls its `on_delete`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from django.apps import apps
from django.db import models

from ..relations import delete_graph
from ..relations.dry_run import require_usable
from ..relations.policies import declared_on_delete
from . import protection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models.deletion import Collector

    from ..relations import Catalogue, Relation
    from ..relations.content_types import UnknownHome
    from ..relations.relation import ForeignKey


class StandIn(ABC):
    """Stands in for the `on_delete` of a key; equal to the declared one."""

    lazy_sub_objs: ClassVar[bool] = True

    def __init__(self, field: ForeignKey) -> None:
        self.declared = declared_on_delete(field)
        self.__name__ = getattr(self.declared, "__name__", type(self.declared).__name__)

    @abstractmethod
    def __call__(
        self, collector: Collector, field: ForeignKey, sub_objs: models.QuerySet[Any], using: str
    ) -> None:
        """Called by the Collector with a query that it has not run yet."""

    def __eq__(self, other: object) -> bool:
        return bool(self.declared == getattr(other, "declared", other))

    def __hash__(self) -> int:
        return hash(self.declared)


class AdoptedOnDelete(StandIn):
    """Stands in for a relation's `on_delete`.

    It has no side effects, because the admin's confirmation page collects too. If there are PROTECT
    or RESTRICT keys in other databases, directly or below (`asks`), they are checked. Equality and
    the name let Django check the declared policy (fields.E320, E321). If nothing is asked, it
    equals DO_NOTHING for the Collector, which then builds no queryset.
    """

    def __init__(self, relation: Relation, *, asks: bool) -> None:
        super().__init__(relation.field)
        self.relation = relation
        self.asks = asks
        #: Whether the Collector may skip the relation.
        self.passed_over = relation.has_builtin_policy and not asks

    def __call__(self, collector: Collector, field: ForeignKey, *_: Any) -> None:
        """Called by the Collector, which raises the refusals of other databases at its end.

        Raises:
            UnusablePolicy: the workers could not execute this `on_delete`.
        """
        relation = self.relation
        require_usable(field, relation.label, relation.child_databases[0])
        if self.asks:
            protection.ask(collector)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AdoptedOnDelete) and other == models.DO_NOTHING:
            return self.passed_over
        return super().__eq__(other)

    def __hash__(self) -> int:
        # Django 6.1 looks it up in the set of policies that it skips. Those of a database are in
        # it, too; between databases nobody carries them out, so the Collector has to ask.
        if self.passed_over:
            return hash(models.DO_NOTHING)
        return id(self) if self.relation.policy.by_database else super().__hash__()


class LocalOnDelete(StandIn):
    """Stands in for the `on_delete` of a key to content types of an unknown database.

    If a content type is deleted in the database of the rows, the declared policy applies;
    elsewhere nothing happens (relations/content_types.py).
    """

    def __init__(self, key: UnknownHome) -> None:
        super().__init__(key.field)
        self.key = key

    def __call__(
        self, collector: Collector, field: ForeignKey, sub_objs: models.QuerySet[Any], using: str
    ) -> None:
        """Called by the Collector."""
        if using in self.key.child_databases and sub_objs:
            self.declared(collector, field, sub_objs, using)


class IgnoredOnDelete(StandIn):
    """Stands in for the `on_delete` of a relation that the settings ignore: it does nothing."""

    def __init__(self, relation: Relation) -> None:
        super().__init__(relation.field)
        self.ignored = relation.ignored

    def __call__(self, *_: object) -> None:
        """Called by the Collector of a Django version that does not skip it."""

    def __eq__(self, other: object) -> bool:
        return other == models.DO_NOTHING or super().__eq__(other)

    def __hash__(self) -> int:
        return hash(models.DO_NOTHING)


class Guard:
    """Makes the Collector check a declared column. See Note [A column's guard].

    To other code it looks like a hidden reverse relation without a column.
    """

    is_relation = auto_created = one_to_many = hidden = True
    concrete = editable = many_to_many = many_to_one = one_to_one = False
    column = None
    #: A model's name that Django treats as not loaded, so that it is no key of the parent.
    remote_field = SimpleNamespace(model="")

    def __init__(self, relation: Relation) -> None:
        self.relation, self.field, self.model = relation, relation.field, relation.parent
        self.related_model = NoRows(relation)
        # Django's checks of a model ask each relation with a model for its `attname`.
        self.name = self.attname = (
            f"integrity_guard_of_{re.sub(r'[.@]', '_', relation.label).lower()}"
        )

    def is_cached(self, _instance: models.Model) -> bool:
        """Return False: it has no value."""
        return False

    def __deepcopy__(self, _memo: object) -> Self:
        return self  # for a model that inherits from the parent later


class NoRows:
    """Stands in for the child model of a declared column: the Collector finds no rows."""

    def __init__(self, relation: Relation) -> None:
        self._meta = relation.child._meta
        self._base_manager = self
        self._none: models.QuerySet[Any] = models.QuerySet(model=relation.child).none()
        # So that the Collector defers no columns. `select_related()` without fields is deprecated.
        self._none.query.select_related = True

    def using(self, _alias: str) -> Self:
        """Return itself for any database."""
        return self

    def filter(self, _predicate: models.Q) -> models.QuerySet[Any]:
        """Return no rows for any parents."""
        return self._none.all()


def adopt(catalogue: Catalogue) -> None:
    """Adopt the field of each relation, and guard the parents of declared columns if needed.

    Safe to repeat; DO_NOTHING fields need no adoption.
    """
    graph = delete_graph.graph_of(catalogue)
    for key in catalogue.unknown_homes:
        if declared_on_delete(key.field) is not models.DO_NOTHING:
            _stand_in(key.field, LocalOnDelete(key))
    for relation in catalogue.ignored:
        if relation.on_delete is not models.DO_NOTHING:
            _stand_in(relation.field, IgnoredOnDelete(relation))
    for relation in catalogue.relations:
        field = relation.field
        if relation.on_delete is models.DO_NOTHING:
            continue
        asks = graph.asks(relation)
        _stand_in(field, AdoptedOnDelete(relation, asks=asks))
        if asks and not field.is_relation:
            _guard(relation)


def _stand_in(field: Any, on_delete: StandIn) -> None:
    if field.is_relation and not isinstance(field.remote_field.on_delete, StandIn):
        field.__class__ = _adopted_class(type(field))
    field.remote_field.on_delete = on_delete


def release(catalogue: Catalogue) -> None:
    """Undo `adopt`: the fields are again as their authors wrote them."""
    adopted = [relation.field for relation in (*catalogue.relations, *catalogue.ignored)]
    for field in (*adopted, *(key.field for key in catalogue.unknown_homes)):
        if field.is_relation and isinstance(field.remote_field.on_delete, StandIn):
            field.remote_field.on_delete = declared_on_delete(field)
            field.__class__ = _declared.get(type(field), type(field))
    for model in apps.get_models(include_auto_created=True):
        if any(isinstance(private, Guard) for private in model._meta.private_fields):
            model._meta.private_fields[:] = [
                private for private in model._meta.private_fields if not isinstance(private, Guard)
            ]


def _guard(relation: Relation) -> None:
    """Add a guard to the parent, its proxies and its multi-table children, which delete it too."""
    for model in apps.get_models(include_auto_created=True):
        if issubclass(model, relation.parent):
            guard = Guard(relation)
            others = [
                private for private in model._meta.private_fields if private.name != guard.name
            ]
            model._meta.private_fields[:] = [*others, guard]
            meta: Any = model._meta
            meta._expire_cache()  # noqa: SLF001 (the cache of `get_fields()`; there is no public way)


_adopted: dict[type[ForeignKey], type[ForeignKey]] = {}
_declared: dict[type[ForeignKey], type[ForeignKey]] = {}


def _adopted_class(declared: type[ForeignKey]) -> type[ForeignKey]:
    """Return a subclass of the same name that deconstructs (and clones) to the declared field."""

    def deconstruct(self: Any) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        name, path, args, kwargs = declared.deconstruct(self)
        given = kwargs["on_delete"]  # a subclass may write another one than its own
        return name, path, args, {**kwargs, "on_delete": getattr(given, "declared", given)}

    if declared not in _adopted:
        same_name = {"__module__": declared.__module__, "__qualname__": declared.__qualname__}
        members = {"deconstruct": deconstruct, **same_name}
        _adopted[declared] = type(declared.__name__, (declared,), members)
        _declared[_adopted[declared]] = declared
    return _adopted[declared]
