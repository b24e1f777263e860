"""Which texts a column takes for equal: the very text only, or others too, by its collation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import DatabaseError, connections

from . import collations

if TYPE_CHECKING:
    from ..relations import Field

#: A column's type and collation, and whether only the same text is equal by the collation.
_POSTGRESQL = (
    "SELECT typname, coalesce(nullif(collname, 'default'), ''), coalesce(collisdeterministic, true)"
    " FROM pg_catalog.pg_attribute JOIN pg_catalog.pg_type ON pg_type.oid = atttypid"
    " LEFT JOIN pg_catalog.pg_collation ON pg_collation.oid = attcollation"
    " WHERE attrelid = to_regclass(%s) AND attname = %s AND NOT attisdropped"
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a column compares texts."""

    vendor: str
    collation: str
    #: Whether a text equals no other. Spaces at the end do not count: forms cut them off.
    exact: bool

    def is_like(self, other: Comparison) -> bool:
        """Return whether the same texts are equal for both. Pure."""
        return (self.exact and other.exact) or self == other


def comparison(field: Field, using: str) -> Comparison | None:
    """Return how the field's column in `using` compares texts.

    None where that is unknown: there is no such column, or the database does not answer.
    """
    try:
        if connections[using].vendor == "mysql":
            return _of_mysql(field, using)
        if connections[using].vendor == "postgresql":
            return _of_postgresql(field, using)
        return _by_introspection(field, using)
    except DatabaseError:
        return None


def _of_mysql(field: Field, using: str) -> Comparison | None:
    name = collations.collation_of(field, using)
    return Comparison("mysql", name, name.endswith("_bin")) if name else None


def _of_postgresql(field: Field, using: str) -> Comparison | None:
    connection = connections[using]
    table = connection.ops.quote_name(field.model._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(_POSTGRESQL, [table, field.column])
        row = cursor.fetchone()
    if row is None:
        return None
    kind, collation, exact = row
    # Keys are sent as what the model says. As `varchar`, they equal a `citext` of the same text.
    if kind == "citext" == field.rel_db_type(connection):
        return Comparison("postgresql", kind, exact=False)
    return Comparison("postgresql", collation, exact)


def _by_introspection(field: Field, using: str) -> Comparison | None:
    """Return the column's comparison by what Django reads of the table: SQLite's collations."""
    vendor, read = connections[using].vendor, connections[using].introspection
    with connections[using].cursor() as cursor:
        for column in read.get_table_description(cursor, field.model._meta.db_table):
            if column.name == field.column:
                name = str(column.collation or "")
                return Comparison(vendor, name, name.upper() not in {"NOCASE", "RTRIM"})
    return None
