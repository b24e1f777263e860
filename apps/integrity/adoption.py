"""Keeps Django's Collector away from databases that it cannot see.

Takes the catalogue; makes each relation's `on_delete` safe to call while a parent is deleted.
The fields still deconstruct to what their author wrote, so migrations do not change.

Note [The Collector asks one database]: `Collector(using)` looks for children in the parent's
database, whatever the routers say (django/db/models/deletion.py, `related_objects`). With a
cross-database key this raises before `pre_delete` is sent, or after the remote rows are gone.
`lazy_sub_objs` is Django's own way to be handed the query without running it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.db import DatabaseError, connections, models

from . import conf
from .exceptions import ChildDatabaseUnavailable
from .relations import declared_on_delete

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models.deletion import Collector

    from .relations import Catalogue, ForeignKey, Relation


class AdoptedOnDelete:
    """Stands in for a relation's `on_delete`; equal to the declared one.

    Without side effects, because the admin's confirmation page collects too: PROTECT and RESTRICT
    look into the child's databases, every other policy is left to the cascade.
    Equality and the name keep Django's checks of the declared policy alive (fields.E320, E321).
    """

    lazy_sub_objs: ClassVar[bool] = True

    def __init__(self, relation: Relation) -> None:
        self.relation = relation
        self.declared = relation.on_delete
        self.__name__ = getattr(self.declared, "__name__", type(self.declared).__name__)

    def __call__(
        self, collector: Collector, field: ForeignKey, sub_objs: models.QuerySet[Any], using: str
    ) -> None:
        """Called by the Collector. Raises what the declared policy raises, for rows elsewhere.

        Raises `ChildDatabaseUnavailable` where a PROTECT or RESTRICT cannot be answered.
        """
        if self.relation.policy.checked_at_once:
            for database in self.relation.child_databases:
                if rows := self._referring(sub_objs, database):
                    self.declared(collector, field, rows, using)

    def _referring(self, sub_objs: models.QuerySet[Any], database: str) -> Sequence[models.Model]:
        query = sub_objs.using(database).select_related(None)
        try:
            return list(query[: conf.current().protect_limit])
        except DatabaseError as error:
            connections[database].close_if_unusable_or_obsolete()  # or no try would succeed again
            raise ChildDatabaseUnavailable(
                f"{self.relation.label} is {self.relation.policy}, and {database!r} cannot be asked"
                f" whether rows refer to what is being deleted: {error}. Nothing was deleted;"
                f" try again when {database!r} answers."
            ) from error

    def __eq__(self, other: object) -> bool:
        return bool(self.declared == getattr(other, "declared", other))

    def __hash__(self) -> int:
        return hash(self.declared)


def adopt(catalogue: Catalogue) -> None:
    """Adopt every relation's field. Safe to repeat; DO_NOTHING fields need no adoption."""
    for relation in catalogue.relations:
        field = relation.field
        if relation.on_delete is models.DO_NOTHING:
            continue
        if not isinstance(field.remote_field.on_delete, AdoptedOnDelete):
            field.__class__ = _adopted_class(type(field))
        field.remote_field.on_delete = AdoptedOnDelete(relation)


_adopted: dict[type[ForeignKey], type[ForeignKey]] = {}


def _adopted_class(declared: type[ForeignKey]) -> type[ForeignKey]:
    """A subclass under the same name that deconstructs (and so clones) to the declared field."""

    def deconstruct(self: Any) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        name, path, args, kwargs = declared.deconstruct(self)
        return name, path, args, {**kwargs, "on_delete": declared_on_delete(self)}

    if declared not in _adopted:
        same_name = {"__module__": declared.__module__, "__qualname__": declared.__qualname__}
        members = {"deconstruct": deconstruct, **same_name}
        _adopted[declared] = type(declared.__name__, (declared,), members)
    return _adopted[declared]
