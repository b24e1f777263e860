"""Keeps Django's Collector away from databases that it cannot see.

Takes the catalogue; makes each relation's `on_delete` safe to call while a parent is deleted.
The fields still deconstruct to what their author wrote, so migrations do not change.

Note [The Collector asks one database]: `Collector(using)` looks for children in the parent's
database, whatever the routers say (django/db/models/deletion.py, `related_objects`). With a
cross-database key this raises before `pre_delete` is sent, or after the remote rows are gone.
`lazy_sub_objs` is Django's own way to be handed the query without running it.

Note [A column's guard]: of a declared column the Collector knows nothing, so it does no harm, and
asks nothing. Where the column's policy has to be asked, a `Guard` stands among the parent's private
fields: "something like generic foreign key" (`Collector.collect`), which Django asks before the
delete's transaction begins, and whose refusal the admin's pages know how to show.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, Self

from django.apps import apps
from django.db import DatabaseError, connections, models

from . import conf, missing, relations
from .columns import generic_of
from .exceptions import ChildDatabaseUnavailable, MissingContentType
from .generic import narrowed, rows_of
from .policies import Policy, declared_on_delete, require_usable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.db.models.deletion import Collector

    from .content_types import UnknownHome
    from .relations import Catalogue, ForeignKey, Relation


#: Parents of one question about a guarded column.
GUARDED_KEYS = 450


class StandIn:
    """Stands in for the `on_delete` of a key; equal to the declared one."""

    lazy_sub_objs: ClassVar[bool] = True

    def __init__(self, field: ForeignKey) -> None:
        self.declared = declared_on_delete(field)
        self.__name__ = getattr(self.declared, "__name__", type(self.declared).__name__)

    def __call__(
        self, collector: Collector, field: ForeignKey, sub_objs: models.QuerySet[Any], using: str
    ) -> None:
        """Called by the Collector with rows that it has not asked for yet."""
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return bool(self.declared == getattr(other, "declared", other))

    def __hash__(self) -> int:
        return hash(self.declared)


class AdoptedOnDelete(StandIn):
    """Stands in for a relation's `on_delete`.

    Without side effects, because the admin's confirmation page collects too: PROTECT and RESTRICT
    look into the child's databases, every other policy is left to the cascade.
    Equality and the name keep Django's checks of the declared policy alive (fields.E320, E321). To
    the Collector, what is left to the cascade is equal to DO_NOTHING: it makes no queryset then.
    """

    def __init__(self, relation: Relation) -> None:
        super().__init__(relation.field)
        self.relation = relation
        #: Whether the Collector has nothing to ask.
        self.passed_over = relation.plain and not relation.policy.checked_at_once

    def __call__(
        self, collector: Collector, field: ForeignKey, sub_objs: models.QuerySet[Any], using: str
    ) -> None:
        """Called by the Collector. Raises what the declared policy raises, for rows elsewhere.

        Raises `ChildDatabaseUnavailable` where a PROTECT or RESTRICT cannot be answered, and
        `UnusablePolicy` for an `on_delete` that the workers could not carry out.
        """
        relation = self.relation
        require_usable(field, relation.label, relation.child_databases[0])
        if relation.policy.checked_at_once:
            ask: Callable[..., None] = getattr(models, relation.policy)  # and no wrapper of it
            for database in relation.child_databases:
                if rows := _referring(relation, sub_objs, database):
                    ask(collector, field, rows, using)

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
    """Refuses a parent's delete for a declared column. See Note [A column's guard].

    To all but the Collector it looks like a GenericForeignKey: to many models, without a column.
    """

    is_relation = many_to_one = hidden = True
    auto_created = concrete = editable = many_to_many = one_to_many = one_to_one = False
    column = related_model = remote_field = None

    def __init__(self, relation: Relation) -> None:
        self.relation = relation
        self.hurdle = f"{relation.label} is {relation.policy}"  # why a plan is no faster
        self.name = f"integrity_guard_of_{re.sub(r'[.@]', '_', relation.label).lower()}"

    def bulk_related_objects(self, objs: Sequence[Any], using: str) -> list[Any]:  # noqa: ARG002
        """Called by the Collector with parents. Nothing more to delete, or an error.

        Raises what the declared policy raises, and `ChildDatabaseUnavailable`.
        """
        relation, target = self._narrowed(), self.relation.target
        keys = [getattr(each, target.attname) for each in objs]
        held = [relations.as_held(relation.field, key) for key in keys if key is not None]
        for database in relation.child_databases:
            for start in range(0, len(held), GUARDED_KEYS):
                some = {f"{relation.field.attname}__in": held[start : start + GUARDED_KEYS]}
                rows = rows_of(relation.field, database).filter(**some)
                if found := _referring(relation, rows, database):
                    self._refuse(found)
        return []

    def _narrowed(self) -> Relation:
        """The relation, of a GenericForeignKey with the content type that its rows hold now."""
        try:
            return narrowed(self.relation)
        except MissingContentType as error:
            text = f"{self.relation.policy}, and nobody can tell which rows refer: {error}"
            raise ChildDatabaseUnavailable(text) from error
        except DatabaseError as error:
            generic = generic_of(self.relation.field)
            assert generic is not None  # nothing else is asked about
            table = generic.column.remote_field.model
            raise _unavailable(self.relation, table, generic.content_types, error) from error

    def _refuse(self, rows: Sequence[models.Model]) -> None:
        parent, label = self.relation.parent._meta.object_name, self.relation.label
        protects = self.relation.policy is Policy.PROTECT
        raise (models.ProtectedError if protects else models.RestrictedError)(
            f"Cannot delete some instances of model {parent!r} because they are referenced through"
            f" {label!r}, whose declared on_delete is {self.relation.policy}",
            set(rows),
        )

    def is_cached(self, _instance: models.Model) -> bool:
        """Never: it has no value."""
        return False

    def __deepcopy__(self, _memo: object) -> Self:
        return self  # for a model that inherits from the parent later


def _referring(
    relation: Relation, sub_objs: models.QuerySet[Any], database: str
) -> Sequence[models.Model]:
    """Some of the rows, from the child's database. Raises `ChildDatabaseUnavailable`."""
    query = sub_objs.using(database).select_related(None)
    try:
        return list(query[: conf.current().protect_limit])
    except DatabaseError as error:
        connections[database].close_if_unusable_or_obsolete()  # or no try would succeed again
        raise _unavailable(relation, relation.child, database, error) from error


def _unavailable(
    relation: Relation, asked: relations.Model, database: str, error: DatabaseError
) -> ChildDatabaseUnavailable:
    answer = f"{error}. Nothing was deleted; try again when {database!r} answers"
    if reason := missing.table(asked, using=database):
        answer = f"{reason}, and delete again. Nothing was deleted"
    return ChildDatabaseUnavailable(
        f"{relation.label} is {relation.policy}, and {database!r} cannot be asked"
        f" whether rows refer to what is being deleted: {answer}."
    )


def adopt(catalogue: Catalogue) -> None:
    """Adopt every relation's field, and guard the parents of declared columns that say so.

    Safe to repeat; DO_NOTHING fields need no adoption.
    """
    for key in catalogue.unknown_homes:
        if declared_on_delete(key.field) is not models.DO_NOTHING:
            _stand_in(key.field, LocalOnDelete(key))
    for relation in catalogue.relations:
        field = relation.field
        if not field.is_relation:
            _guard(relation)
            continue
        if relation.on_delete is models.DO_NOTHING:
            continue
        _stand_in(field, AdoptedOnDelete(relation))


def _stand_in(field: Any, on_delete: StandIn) -> None:
    if not isinstance(field.remote_field.on_delete, StandIn):
        field.__class__ = _adopted_class(type(field))
    field.remote_field.on_delete = on_delete


def _guard(relation: Relation) -> None:
    """Guard the parent, its proxies and its multi-table children, which take it along."""
    if not relation.policy.checked_at_once:
        return
    for model in apps.get_models(include_auto_created=True):
        if issubclass(model, relation.parent):
            guard = Guard(relation)
            others = [each for each in model._meta.private_fields if each.name != guard.name]
            model._meta.private_fields[:] = [*others, guard]


_adopted: dict[type[ForeignKey], type[ForeignKey]] = {}


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
    return _adopted[declared]
