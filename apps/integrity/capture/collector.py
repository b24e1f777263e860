"""Keeps Django's Collector away from databases that it cannot see.

Takes the catalogue; makes each relation's `on_delete` safe to call while a parent is deleted.
The fields still deconstruct to what their author wrote, so migrations do not change.

Note [The Collector asks one database]: `Collector(using)` looks for children in the parent's
database, whatever the routers say (django/db/models/deletion.py, `related_objects`). With a
cross-database key this raises before `pre_delete` is sent, or after the remote rows are gone.
`lazy_sub_objs` is Django's own way to be handed the query without running it.

Note [A column's guard]: of a declared column the Collector knows nothing, so it does no harm, and
asks nothing. Where something has to be asked, a `Guard` stands among the parent's private fields,
which `get_fields()` lists with the relations: Django takes it for one, and calls its `on_delete`.
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
        """Called by the Collector with rows that it has not asked for yet."""

    def __eq__(self, other: object) -> bool:
        return bool(self.declared == getattr(other, "declared", other))

    def __hash__(self) -> int:
        return hash(self.declared)


class AdoptedOnDelete(StandIn):
    """Stands in for a relation's `on_delete`.

    Without side effects, because the admin's confirmation page collects too: it only has the
    Collector ask PROTECT and RESTRICT elsewhere, where there are some (`asks`), directly or below.
    Equality and the name keep Django's checks of the declared policy alive (fields.E320, E321). To
    the Collector, what asks nothing is equal to DO_NOTHING: it makes no queryset then.
    """

    def __init__(self, relation: Relation, *, asks: bool) -> None:
        super().__init__(relation.field)
        self.relation = relation
        self.asks = asks
        #: Whether the Collector has nothing to ask.
        self.passed_over = relation.has_builtin_policy and not asks

    def __call__(self, collector: Collector, field: ForeignKey, *_: Any) -> None:
        """Called by the Collector, which raises what other databases refuse when it is complete.

        Raises `UnusablePolicy` for an `on_delete` that the workers could not carry out.
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
        # Django 6.1 looks for it in a set of the policies that it passes over.
        return hash(models.DO_NOTHING) if self.passed_over else super().__hash__()


class LocalOnDelete(StandIn):
    """Stands in for the `on_delete` of a key to content types of an unknown database.

    Where a content type is deleted in the rows' own database, it is the declared one; elsewhere, it
    does nothing (content_types.py).
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


class Guard:
    """Has the Collector ask for a declared column. See Note [A column's guard].

    To all but the Collector it looks like a hidden reverse relation: from many rows, no column.
    """

    is_relation = auto_created = one_to_many = hidden = True
    concrete = editable = many_to_many = many_to_one = one_to_one = False
    column = None
    #: A model's name, which Django takes for one that is not loaded: no key of the parent's.
    remote_field = SimpleNamespace(model="")

    def __init__(self, relation: Relation) -> None:
        self.relation, self.field, self.model = relation, relation.field, relation.parent
        self.related_model = Nobody(relation)
        # Django's checks of a model ask each relation with a model for its `attname`.
        self.name = self.attname = (
            f"integrity_guard_of_{re.sub(r'[.@]', '_', relation.label).lower()}"
        )

    def is_cached(self, _instance: models.Model) -> bool:
        """Never: it has no value."""
        return False

    def __deepcopy__(self, _memo: object) -> Self:
        return self  # for a model that inherits from the parent later


class Nobody:
    """Stands in for the child of a declared column, of which the Collector's query finds none."""

    def __init__(self, relation: Relation) -> None:
        self._meta = relation.child._meta
        self._base_manager = self
        self._none: models.QuerySet[Any] = models.QuerySet(model=relation.child).none()
        # The Collector defers no column then. Not by its method: without fields it is deprecated.
        self._none.query.select_related = True

    def using(self, _alias: str) -> Self:
        """Whatever the database."""
        return self

    def filter(self, _predicate: models.Q) -> models.QuerySet[Any]:
        """Whatever the parents."""
        return self._none.all()


def adopt(catalogue: Catalogue) -> None:
    """Adopt every relation's field, and guard the parents of declared columns that ask something.

    Safe to repeat; DO_NOTHING fields need no adoption.
    """
    graph = delete_graph.graph_of(catalogue)
    for key in catalogue.unknown_homes:
        if declared_on_delete(key.field) is not models.DO_NOTHING:
            _stand_in(key.field, LocalOnDelete(key))
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
    """Undo what was done for a catalogue: its fields are as their authors wrote them."""
    adopted = [each.field for each in catalogue.relations]
    for field in (*adopted, *(each.field for each in catalogue.unknown_homes)):
        if field.is_relation and isinstance(field.remote_field.on_delete, StandIn):
            field.remote_field.on_delete = declared_on_delete(field)
            field.__class__ = _declared.get(type(field), type(field))
    for model in apps.get_models(include_auto_created=True):
        if any(isinstance(each, Guard) for each in model._meta.private_fields):
            kept = [each for each in model._meta.private_fields if not isinstance(each, Guard)]
            model._meta.private_fields[:] = kept


def _guard(relation: Relation) -> None:
    """Guard the parent, its proxies and its multi-table children, which take it along."""
    for model in apps.get_models(include_auto_created=True):
        if issubclass(model, relation.parent):
            guard = Guard(relation)
            others = [each for each in model._meta.private_fields if each.name != guard.name]
            model._meta.private_fields[:] = [*others, guard]
            meta: Any = model._meta
            meta._expire_cache()  # noqa: SLF001 (what `get_fields()` keeps; Django has no other way)


_adopted: dict[type[ForeignKey], type[ForeignKey]] = {}
_declared: dict[type[ForeignKey], type[ForeignKey]] = {}


def _adopted_class(declared: type[ForeignKey]) -> type[ForeignKey]:
    """A subclass under the same name that deconstructs (and so clones) to the declared field."""

    def deconstruct(self: Any) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        name, path, args, kwargs = declared.deconstruct(self)
        given = kwargs["on_delete"]  # a subclass may write another one than it has
        return name, path, args, {**kwargs, "on_delete": getattr(given, "declared", given)}

    if declared not in _adopted:
        same_name = {"__module__": declared.__module__, "__qualname__": declared.__qualname__}
        members = {"deconstruct": deconstruct, **same_name}
        _adopted[declared] = type(declared.__name__, (declared,), members)
        _declared[_adopted[declared]] = declared
    return _adopted[declared]
