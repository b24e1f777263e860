"""Rights on the project's own rows: to compare keys, to count, to delete, to change one key.

Note [Row locks]: PostgreSQL lets a role lock rows (`FOR UPDATE`, `FOR KEY SHARE`) only where it
may update some column of them; DELETE does not suffice. Where rows are locked to be deleted, that
is a generated column if the model has one, which nobody can set. Else it is the primary key:
changing that is refused where rows of the same database refer to it, and leaves every other
column out of reach.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...relations.columns import columns_of, generic_of
from ...relations.plan import Strategy, plan_for
from ...relations.relation import pk_fields, primary_key
from . import log
from .collector import collected
from .privileges import CTID, DELETE, SELECT, UPDATE, Need, column, on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...relations import Catalogue, Field, Model, Relation
    from ...relations.plan import Node, Plan
    from ...relations.relation import ForeignKey


def scanned(relation: Relation) -> Iterator[Need]:
    """Keys of children and parents are compared, and no more of the parents is ever seen."""
    for home in relation.parent_databases:
        yield column(home, primary_key(relation.parent), SELECT)
        yield column(home, relation.target, SELECT)
    for database in relation.child_databases:
        for each in columns_of(relation.field):
            yield column(database, each, SELECT)
    yield from content_types(relation)
    if relation.policy.cascades:
        yield from log.suspected(relation.parent_databases[0])


def counted(relation: Relation) -> Iterator[Need]:
    """What a preview joins to count the rows that a deletion reaches."""
    if not relation.policy.cascades:
        return
    for database in relation.child_databases:
        for node in plan_for(relation).root.all:
            yield from _seen(node.field, database)


def content_types(relation: Relation) -> Iterator[Need]:
    """What tells which rows of a generic relation are of its parent."""
    if generic := generic_of(relation.field):
        for field in generic.column.remote_field.model._meta.concrete_fields:
            yield column(generic.content_types, field, SELECT)


def cascaded(plan: Plan, database: str, found: Catalogue) -> Iterator[Need]:
    """What carries a plan out in a child database."""
    if plan.strategy is Strategy.COLLECTOR:
        model = plan.root.field.model
        yield from _seen(plan.root.field, database)
        yield lock(model, database)
        yield from collected(model, database, found, set())
    else:
        yield from _set_based(plan.root, database)


def lock(model: Model, database: str) -> Need:
    """The one column whose UPDATE lets rows be locked. See Note [Row locks]."""
    generated = (f for f in model._meta.local_concrete_fields if _is_computed(f))
    return column(database, next(generated, pk_fields(model)[0]), UPDATE)


def _is_computed(field: Field) -> bool:
    return bool(field.generated and getattr(field, "db_persist", False))


def _set_based(node: Node, database: str) -> Iterator[Need]:
    model = node.field.model
    yield from _seen(node.field, database)
    if node.update:
        for each in columns_of(node.field):
            yield column(database, each, UPDATE)
        return
    yield from on(database, model, DELETE)
    yield lock(model, database)
    for sub in node.below:
        yield from _set_based(sub, database)


def _seen(key: ForeignKey, database: str) -> Iterator[Need]:
    """Where a row is, which row, and to whom it refers. Nothing else of it is read."""
    yield Need(database, key.model._meta.db_table, SELECT, CTID)
    for each in (*pk_fields(key.model), *columns_of(key)):
        yield column(database, each, SELECT)
