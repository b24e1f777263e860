"""Rights for Django's Collector: what it does in one database when rows of a model go.

Note [Whole rows]: the Collector loads the rows that it deletes, unless nobody looks at them: no
receiver, no further key, no GenericRelation. Where it loads them, Django selects all of their
columns, so SELECT is on the table.
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


def collected(model: Model, database: str, found: Catalogue, seen: set[Model]) -> Iterator[Need]:
    """What goes with rows of `model` on `database`, and what is recorded of it."""
    if model in seen:
        return
    seen.add(model)
    for table in (model, *model._meta.get_parent_list()):
        yield from on(database, table, SELECT, DELETE)
        yield from captured(table, database, found)
        yield from asked_at_once(table, database, found)
    for key in _keys(model, found):
        yield from _along(key, database, found, seen)
    for field in model._meta.private_fields:
        if hasattr(field, "bulk_related_objects") and field.remote_field:
            content_type = field.remote_field.model._meta.get_field(field.content_type_field_name)
            yield from on(database, content_type.related_model, SELECT)
            yield from collected(field.remote_field.model, database, found, seen)


def captured(model: Model, database: str, found: Catalogue) -> Iterator[Need]:
    """What the process itself records of a delete: nothing where a trigger does it alone."""
    if model not in found.parents.values() or database not in homes.databases_for(model):
        return
    capture = conf.current().capture_of(model._meta.label)
    if capture not in {"signal", "both"}:
        return
    yield from log.captured(database)
    read = {"key"}
    if capture == "both":
        read |= {"parent", "source", "recorded_at"}  # what the trigger has recorded already
    for field in Deletion._meta.concrete_fields:
        if field.name in read:
            yield column(database, field, SELECT)


def asked_at_once(parent: Model, home: str, found: Catalogue) -> Iterator[Need]:
    """PROTECT and RESTRICT look before the delete, as far down as its cascades lead."""
    for edge, table, database in tables_of(graph_of(found), relation.concrete(parent), home):
        if edge.relation is not None and (generic := generic_of(edge.relation.field)):
            for field in generic.column.remote_field.model._meta.concrete_fields:
                yield column(generic.content_types, field, SELECT)
        yield from on(database, table, SELECT)


def _keys(model: Model, found: Catalogue) -> list[ForeignKey]:
    """The keys to a model that stay in one database."""
    crossing = {each.field for each in found.relations}
    crossing |= {each.field for each in found.unknown_homes}
    referring: Iterable[Any] = get_candidate_relations_to_delete(model._meta)
    return [each.field for each in referring if each.field not in crossing]


def _along(key: ForeignKey, database: str, found: Catalogue, seen: set[Model]) -> Iterator[Need]:
    policy = policy_of(key)
    if policy is Policy.CASCADE and key.model not in seen and _goes_unloaded(key, database):
        yield from on(database, key.model, DELETE)
        yield column(database, key, SELECT)
    elif policy is Policy.CASCADE:
        yield from collected(key.model, database, found, seen)
    elif policy.protects:
        yield from on(database, key.model, SELECT)
    elif policy is not Policy.DO_NOTHING:
        yield from on(database, key.model, SELECT)
        for each in columns_of(key):
            yield column(database, each, UPDATE)


def _goes_unloaded(key: ForeignKey, database: str) -> bool:
    """Whether Django deletes the rows by their key alone. See Note [Whole rows]."""
    rows: QuerySet[Any] = QuerySet(model=key.model, using=database)
    return Collector(using=database).can_fast_delete(rows, from_field=key)
