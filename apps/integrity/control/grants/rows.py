"""The privileges on the project's own tables: to compare keys, count, delete, and update one key.

Note [Row locks]: PostgreSQL lets a role lock rows (`FOR UPDATE`, `FOR KEY SHARE`) only if it may
update at least one of their columns; DELETE does not suffice. To lock rows that it deletes, the
role gets UPDATE on a generated column, which cannot be set. If the model has none, it gets UPDATE
on the primary key: the role cannot change any other column, and PostgreSQL refuses to change a key
to which rows of the same database refer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...relations.columns import columns_of, generic_of
from ...relations.plan import Strategy, plan_for
from ...relations.relation import pk_fields, primary_key
from ...relations.removed import models_removed
from . import log
from .collector import collected
from .privileges import CTID, DELETE, SELECT, UPDATE, Need, column, on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...relations import Catalogue, Field, Model, Relation
    from ...relations.plan import Node, Plan
    from ...relations.relation import ForeignKey


def scanned(relation: Relation) -> Iterator[Need]:
    """Yield the needs for comparing the keys of children and parents. No other column is read."""
    for home in relation.parent_databases:
        yield column(home, primary_key(relation.parent), SELECT)
        yield column(home, relation.target, SELECT)
    for database in relation.child_databases:
        for field in columns_of(relation.field):
            yield column(database, field, SELECT)
    yield from content_types(relation)
    if relation.policy.cascades:
        yield from log.suspected(relation.parent_databases[0])


def counted(relation: Relation) -> Iterator[Need]:
    """Yield the needs for counting the rows that a deletion reaches, for a preview."""
    if not relation.policy.cascades:
        return
    for database in relation.child_databases:
        for node in plan_for(relation).root.all:
            yield from _seen(node.field, database)


def content_types(relation: Relation) -> Iterator[Need]:
    """Yield the needs for reading the content type of a generic relation."""
    if generic := generic_of(relation.field):
        for field in generic.column.remote_field.model._meta.concrete_fields:
            yield column(generic.content_types, field, SELECT)


def cascaded(plan: Plan, database: str, catalogue: Catalogue) -> Iterator[Need]:
    """Yield the needs for carrying out a plan in a child database."""
    if plan.strategy is Strategy.COLLECTOR:
        model = plan.root.field.model
        yield from _seen(plan.root.field, database)
        yield lock(model, database)
        yield from collected(model, database, catalogue, set())
    else:
        yield from _set_based(plan.root, database)


def asked_about(relation: Relation, database: str, catalogue: Catalogue) -> Iterator[Need]:
    """Yield the needs of erasure steps: they read any column of the rows that go."""
    if relation.label in catalogue.covered:
        for model in models_removed(relation):
            yield from on(database, model, SELECT)
            yield lock(model, database)


def lock(model: Model, database: str) -> Need:
    """Return the need that allows locking rows. See Note [Row locks]."""
    generated = (field for field in model._meta.local_concrete_fields if _is_computed(field))
    return column(database, next(generated, pk_fields(model)[0]), UPDATE)


def _is_computed(field: Field) -> bool:
    return bool(field.generated and getattr(field, "db_persist", False))


def _set_based(node: Node, database: str) -> Iterator[Need]:
    model = node.field.model
    yield from _seen(node.field, database)
    if node.update:
        for field in columns_of(node.field):
            yield column(database, field, UPDATE)
        return
    yield from on(database, model, DELETE)
    yield lock(model, database)
    for sub in node.below:
        yield from _set_based(sub, database)


def _seen(key: ForeignKey, database: str) -> Iterator[Need]:
    """Yield the needs for reading the place, the primary key and the reference of a row."""
    yield Need(database, key.model._meta.db_table, SELECT, CTID)
    for field in (*pk_fields(key.model), *columns_of(key)):
        yield column(database, field, SELECT)
