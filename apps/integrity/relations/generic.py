"""The content type that rows of a GenericForeignKey must have, beside the key. Only reads.

Note [Content type condition]: the same `object_id` may be a user's key in one row and a post's in
the next, so no statement may use it alone. The field carries the id of the content type to each
place that builds a statement. A generic field without that id is refused there.

Note [No cache]: the id differs between databases, and changes if a content type is created again.
Django's cache of content types lasts as long as the process, so it is not used: each claim, each
run of a scan and each check during a request reads the table. If the row is missing, no rows can be
attributed to the parent. "No rows" would be a false proof, so `MissingContentType` is raised.
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
    """Return the relation with the current id of its content type, if it is generic.

    It runs one query for a generic relation, and none for another one. Raises `MissingContentType`,
    or the errors of the database.
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
    content_types: QuerySet[Any] = QuerySet(model=table, using=generic.content_types)
    rows = content_types.filter(app_label=meta.app_label, model=meta.model_name)
    for pk in rows.values_list("pk", flat=True):
        return int(pk)
    raise MissingContentType(relation, meta.label, generic.content_types)


def content_type_condition(field: Field) -> dict[Field, int]:
    """Return the values that a row needs, beside the key, to refer through `field`.

    See Note [Content type condition]. Raises `ValueError` for a generic relation without its id.
    """
    generic = generic_of(field)
    if generic is None:
        return {}
    if generic.id is None:
        raise ValueError(f"refused: a statement on {label(field)} without its content type")
    return {generic.column: generic.id}


def lookups(field: Field, path: str = "") -> dict[str, int]:
    """Return the same condition as lookups for the ORM, where `path` leads to the rows."""
    return {
        f"{path}{column.attname}": value for column, value in content_type_condition(field).items()
    }


def rows_of(field: Field, using: str) -> QuerySet[Any]:
    """Return all rows that may refer through `field`, without the project's managers.

    They are not ordered: the order of the model would sort all rows to return the first one.
    """
    rows: QuerySet[Any] = QuerySet(model=field.model, using=using).order_by()
    return rows.filter(**lookups(field)) if isinstance(field, Column) else rows
