"""Which keys cross databases: foreign keys of the models, and declared columns. No queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from django.db import models

from .. import conf
from ..exceptions import InvalidSetting
from .columns import Column, generic_of
from .homes import databases_for
from .policies import policy_of
from .relation import ForeignKey, Model, Relation, concrete, label

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def keys(every: Iterable[Model]) -> Iterator[ForeignKey]:
    """Yield the foreign keys of the models, each once; no parent links."""
    for model in every:
        for field in () if model._meta.proxy else model._meta.local_fields:
            if not isinstance(field, models.ForeignKey) or field.remote_field.parent_link:
                continue
            if not isinstance(field.remote_field.model, str):
                yield field


def relation_of(field: ForeignKey) -> Relation | None:
    """Return the relation that a key is, if its two ends are in different databases."""
    parents = databases_for(concrete(field.remote_field.model))
    children = databases_for(field.model)
    if set(parents) == set(children):
        return None
    return Relation(
        field=field,
        policy=policy_of(field),
        parent_databases=parents,
        child_databases=children,
        ignored=conf.current().reason_to_ignore(label(field)),
    )


def declared(column: Column) -> Relation:
    """Return the relation of a declared column. Raises `InvalidSetting` if it crosses nothing."""
    field = cast("ForeignKey", column)
    if (relation := relation_of(field)) is not None:
        _require_its_content_types(relation)
        return relation
    parent, homes = field.remote_field.model._meta.label, ", ".join(databases_for(column.model))
    remedy = f'models.ForeignKey("{parent}", db_column="{column.column}", …) in the model'
    if column.generic:
        remedy = f'GenericRelation("{column.model._meta.label}", …) in {parent}'
    raise InvalidSetting(
        f"INTEGRITY['relations']: {label(column)} and {parent} both live in {homes}:"
        f" within a database, write {remedy}, and declare nothing"
    )


def _require_its_content_types(relation: Relation) -> None:
    """Raise `InvalidSetting` if `content_types` names neither a parents' nor a child database."""
    generic = generic_of(relation.field)
    if generic is None:
        return
    ends = dict.fromkeys([*relation.parent_databases, *relation.child_databases])
    if generic.content_types not in ends:
        raise InvalidSetting(
            f"INTEGRITY['relations']: {relation.label}: content_types is {generic.content_types!r},"
            f" and parents and children are in {', '.join(ends)}: name one of these"
        )
