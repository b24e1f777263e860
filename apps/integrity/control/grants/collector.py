"""The privileges that Django's Collector needs in one database to delete rows of a model.

Note [Whole rows]: the Collector loads the rows that it deletes, unless the model has no receiver,
no key that refers to it and no GenericRelation. Django then selects all of their columns, so the
role needs SELECT on the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet
from django.db.models.deletion import Collector, get_candidate_relations_to_delete

from ... import conf
from ...models import Deletion
from ...relations import homes, relation
from ...relations.columns import columns_of, generic_of
from ...relations.delete_graph import graph_of
from ...relations.delete_tables import tables_of
from ...relations.policies import Policy, policy_of
from . import log
from .privileges import DELETE, SELECT, UPDATE, Need, column, on

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ...relations import Catalogue, Model
    from ...relations.relation import ForeignKey


def collected(
    model: Model, database: str, catalogue: Catalogue, seen: set[Model]
) -> Iterator[Need]:
    """Yield the needs for deleting rows of `model` in `database`, and for recording the deletion.

    Models in `seen` are skipped; new ones are added to it.
    """
    if model in seen:
        return
    seen.add(model)
    for table in (model, *model._meta.get_parent_list()):
        yield from on(database, table, SELECT, DELETE)
        yield from captured(table, database, catalogue)
        yield from protection_checked(table, database, catalogue)
    for key in _keys(model, catalogue):
        yield from _along(key, database, catalogue, seen)
    for field in model._meta.private_fields:
        if hasattr(field, "bulk_related_objects") and field.remote_field:
            content_type = field.remote_field.model._meta.get_field(field.content_type_field_name)
            yield from on(database, content_type.related_model, SELECT)
            yield from collected(field.remote_field.model, database, catalogue, seen)


def captured(model: Model, database: str, catalogue: Catalogue) -> Iterator[Need]:
    """Yield the needs for recording a deletion; none if only a trigger records it."""
    if model not in catalogue.parents.values() or database not in homes.databases_for(model):
        return
    capture = conf.current().capture_of(model._meta.label)
    if capture not in {"signal", "both"}:
        return
    yield from log.captured(database)
    read = {"key"}
    if capture == "both":
        read |= {"parent", "source", "recorded_at"}  # to find what the trigger recorded
    for field in Deletion._meta.concrete_fields:
        if field.name in read:
            yield column(database, field, SELECT)


def protection_checked(parent: Model, home: str, catalogue: Catalogue) -> Iterator[Need]:
    """Yield the needs for checking PROTECT and RESTRICT before the delete, along its cascades."""
    for edge, table, database in tables_of(graph_of(catalogue), relation.concrete(parent), home):
        if edge.relation is not None and (generic := generic_of(edge.relation.field)):
            for field in generic.column.remote_field.model._meta.concrete_fields:
                yield column(generic.content_types, field, SELECT)
        yield from on(database, table, SELECT)


def _keys(model: Model, catalogue: Catalogue) -> list[ForeignKey]:
    """Return the keys that refer to the model within one database."""
    crossing = {tracked.field for tracked in (*catalogue.relations, *catalogue.ignored)}
    crossing |= {key.field for key in catalogue.unknown_homes}
    referring: Iterable[Any] = get_candidate_relations_to_delete(model._meta)
    return [reverse.field for reverse in referring if reverse.field not in crossing]


def _along(
    key: ForeignKey, database: str, catalogue: Catalogue, seen: set[Model]
) -> Iterator[Need]:
    policy = policy_of(key)
    if policy.by_database:  # PostgreSQL carries it out with the rights of the table's owner
        return
    if policy is Policy.CASCADE and key.model not in seen and _is_fast_deleted(key, database):
        yield from on(database, key.model, DELETE)
        yield column(database, key, SELECT)
    elif policy is Policy.CASCADE:
        yield from collected(key.model, database, catalogue, seen)
    elif policy.protects:
        yield from on(database, key.model, SELECT)
    elif policy is not Policy.DO_NOTHING:
        yield from on(database, key.model, SELECT)
        for field in columns_of(key):
            yield column(database, field, UPDATE)


def _is_fast_deleted(key: ForeignKey, database: str) -> bool:
    """Return whether Django deletes the rows without loading them. See Note [Whole rows]."""
    rows: QuerySet[Any] = QuerySet(model=key.model, using=database)
    return Collector(using=database).can_fast_delete(rows, from_field=key)
