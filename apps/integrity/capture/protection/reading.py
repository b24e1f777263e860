"""Reads rows along an edge of the graph, in one database.

Every error of a database becomes `ChildDatabaseUnavailable`, which refuses the delete.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from django.db import Error, connections
from django.db.models import Q, QuerySet

from ... import conf
from ...backends import missing_tables
from ...backends.bounded import bounded_read
from ...exceptions import ChildDatabaseUnavailable, FilteredRead, InvalidKey, MissingContentType
from ...exceptions.redaction import reason_of_error
from ...relations import generic, keys, relation
from ...relations.columns import generic_of
from ...relations.homes import databases_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ...relations import Model
    from ...relations.delete_graph import Edge

Rows: TypeAlias = "QuerySet[Any, Any]"
#: Keys of one condition.
KEYS = 1_000


def rows(model: Model, database: str) -> Rows:
    """Return all rows in no order, without the project's managers, which may hide some."""
    unordered: Rows = QuerySet(model=model, using=database).order_by()
    return unordered


def referring(edge: Edge, values: Sequence[Any], database: str) -> Q:
    """Return the condition for children along the edge that refer to parents with those values."""
    if edge.relation is None:
        return Q(**{f"{edge.key}__in": values}, **_content_type(edge, database))
    field = edge.relation.field
    held = [keys.to_stored(field, value) for value in values]
    return Q(**{f"{edge.key}__in": held}, **_lookups(edge))


def nested(edge: Edge, parents: Rows) -> Q:
    """Return the condition for children along the edge that refer to `parents`, as a subquery."""
    known = parents.filter(**{f"{edge.source}__isnull": False})  # NOT IN (…, NULL) is never true
    return Q(**{f"{edge.key}__in": known.values(edge.source)})


def carried(edge: Edge, parents: Rows, models: Iterable[Model], most: int) -> list[Any]:
    """Return up to `most` values of parents to which children along the edge may refer.

    `models` are those that the query of the parents reads.
    """
    with reading(edge, parents.db, *models):
        known = parents.filter(**{f"{edge.source}__isnull": False})
        return [*known.values_list(edge.source, flat=True).distinct()[:most]]


def parents_of(edge: Edge, children: Iterable[Any], database: str) -> dict[Any, Any]:
    """Return primary key of the child → value of the parent that it refers to."""
    more = {**_lookups(edge), **_content_type(edge, database)}
    with reading(edge, database, edge.child):
        referring_rows = rows(edge.child, database).filter(pk__in=children, **more)
        held = dict(referring_rows.values_list("pk", edge.key))
    known = {pk: _value(edge, value) for pk, value in held.items() if value is not None}
    return {pk: value for pk, value in known.items() if value is not None}


def _value(edge: Edge, held: Any) -> Any:
    """Return the parent's value that a row holds; None for a text that no parent can have."""
    if edge.relation is not None:
        return keys.from_stored(edge.relation.field, held)
    if edge.generic is None:
        return held
    try:
        return keys.parse_key(relation.primary_key(edge.parent), str(held))
    except InvalidKey:
        return None


def keys_of(edge: Edge, values: Sequence[Any], database: str) -> dict[Any, Any]:
    """Return value → primary key of the parent that has it, in one of the parents' databases."""
    with reading(edge, database, edge.parent):
        parents = rows(edge.parent, database).filter(**{f"{edge.source}__in": values})
        return {value: pk for pk, value in parents.values_list("pk", edge.source)}


def in_parts(values: Iterable[Any]) -> Iterator[list[Any]]:
    """Return the values in lists of at most `KEYS`."""
    known = [*values]
    return (known[start : start + KEYS] for start in range(0, len(known), KEYS))


@contextmanager
def reading(edge: Edge, database: str, *models: Model) -> Iterator[None]:
    """Set the time limits for reads of `models` within the block.

    Raises:
        ChildDatabaseUnavailable: a read fails, or it does not see all rows.
    """
    try:
        with bounded_read(database, conf.current().lock_seconds, *models):
            yield
    except MissingContentType as error:
        text = f"{edge.label} is {edge.policy}, and it is unknown which rows refer: {error}"
        raise ChildDatabaseUnavailable(text) from error
    except Error as error:
        reason = _reason(edge, database, error)
        _close_if_broken(database)
        raise ChildDatabaseUnavailable(reason) from error


def _close_if_broken(database: str) -> None:
    """Close a broken connection, so that the next try opens a new one.

    Inside a caller's transaction it stays open: the caller ends the transaction.
    """
    connection = connections[database]
    if connection.connection is None or connection.in_atomic_block or connection.is_usable():
        return
    connection.close()


def _reason(edge: Edge, database: str, error: Error) -> str:
    if isinstance(error, FilteredRead):
        return (
            f"{edge.label} is {edge.policy}, and it is unknown whether rows refer to what is"
            f" being deleted: {error}. Nothing was deleted."
        )
    answer = f"{reason_of_error(error)}. Nothing was deleted; try again when {database!r} answers"
    wanted: list[Model] = [edge.child, edge.parent]
    if edge.relation and (declared := generic_of(edge.relation.field)):
        wanted.append(declared.column.remote_field.model)
    if reason := _absent(database, wanted):
        answer = f"{reason}, and delete again. Nothing was deleted"
    return (
        f"{edge.label} is {edge.policy}, and {database!r} cannot be asked"
        f" whether rows refer to what is being deleted: {answer}."
    )


def _absent(database: str, wanted: list[Model]) -> str:
    """Return the reason that a table is missing in `database`; "" if none is."""
    homes = {model: databases_for(model) for model in wanted[:2]}
    expected = [model for model in wanted if database in homes.get(model, (database,))]
    reasons = (missing_tables.missing_table(model, using=database) for model in expected)
    return next(filter(None, reasons), "")


def _lookups(edge: Edge) -> dict[str, Any]:
    """Return the condition on the content type of a declared GenericForeignKey; {} for other keys.

    It reads the id of the content type from the database.
    """
    if edge.relation is None or (declared := generic_of(edge.relation.field)) is None:
        return {}
    with reading(edge, declared.content_types, declared.column.remote_field.model):
        return generic.lookups(generic.with_content_type(edge.relation).field)


def _content_type(edge: Edge, database: str) -> dict[str, Any]:
    """Return the same condition for a GenericRelation, whose content types are in `database`."""
    if edge.generic is None:
        return {}
    column: Any = edge.child._meta.get_field(edge.generic.content_type_field_name)
    model = edge.parent if edge.generic.for_concrete_model else edge.generic.model
    with reading(edge, database, column.remote_field.model):
        known = rows(column.remote_field.model, database).filter(
            app_label=model._meta.app_label, model=model._meta.model_name
        )
        return {f"{column.attname}__in": [*known.values_list("pk", flat=True)]}
