"""Which rows refer through a key: all that hold it; of a GenericForeignKey, those of one parent.

Takes a declared relation; gives it narrowed to the content type of its parent. Writes nothing.

Note [Narrowed]: an `object_id` is a user's key in one row and a post's in the next, so no statement
may take it for a key by itself. What a row must hold beside it goes with the field, to wherever a
statement is made; a field for which nobody has asked the content type's id refuses to be one.

Note [Asked anew]: that id is another one in another database, and after a content type was made
anew. Django's own cache lives as long as the process, so it is not asked: each claim, each run of a
scan and each question of the request reads the table. Where it has no such row, nothing can be told
of the rows, and "there are none" would be a false proof: `MissingContentType`.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Any, cast

from django.db.models import QuerySet

from ..exceptions import MissingContentType
from .columns import Column, generic_of
from .relation import label

if TYPE_CHECKING:
    from .columns import Generic
    from .relation import Field, Relation


def with_content_type(relation: Relation) -> Relation:
    """The relation, with the id as it is now. One query; none for a relation of any other kind.

    Raises `MissingContentType`, or the errors of the database that it asks.
    """
    generic = relation.field.generic if isinstance(relation.field, Column) else None
    if generic is None:
        return relation
    field = copy.copy(relation.field)
    cast("Any", field).generic = dataclasses.replace(generic, id=_id(generic, relation.label))
    return dataclasses.replace(relation, field=field)


def _id(generic: Generic, relation: str) -> int:
    meta = generic.model._meta
    table = generic.column.remote_field.model
    known: QuerySet[Any] = QuerySet(model=table, using=generic.content_types)
    found = known.filter(app_label=meta.app_label, model=meta.model_name)
    for pk in found.values_list("pk", flat=True):
        return int(pk)
    raise MissingContentType(relation, meta.label, generic.content_types)


def content_type_condition(field: Field) -> dict[Field, int]:
    """What a row must hold, beside its key, to refer through `field`. See Note [Narrowed].

    Raises `ValueError` for a generic relation that is not narrowed.
    """
    generic = generic_of(field)
    if generic is None:
        return {}
    if generic.id is None:
        raise ValueError(f"refused: a statement on {label(field)} without its content type")
    return {generic.column: generic.id}


def lookups(field: Field, path: str = "") -> dict[str, int]:
    """The same for the ORM, where `path` leads to the rows."""
    return {f"{path}{each.attname}": held for each, held in content_type_condition(field).items()}


def rows_of(field: Field, using: str) -> QuerySet[Any]:
    """Rows that may refer through `field`: a project's managers may hide some, which are alive.

    In no order: that of the model would sort all rows to give the first.
    """
    found: QuerySet[Any] = QuerySet(model=field.model, using=using).order_by()
    return found.filter(**lookups(field)) if isinstance(field, Column) else found
