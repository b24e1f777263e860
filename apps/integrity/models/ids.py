"""A list of ids in one column."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.db import models

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql.compiler import SQLCompiler

    Field = models.Field[Any, list[int]]
else:
    Field = models.Field


class IdsField(Field):
    """Ids in ascending order: an array on PostgreSQL, text in JSON on other databases."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        """Return the type of the column."""
        if connection.vendor == "postgresql":
            return "bigint[]"
        return "longtext" if connection.vendor == "mysql" else "text"

    def get_db_prep_value(
        self,
        value: Any,
        connection: BaseDatabaseWrapper,
        prepared: bool = False,  # noqa: ARG002, FBT001, FBT002 (Django's signature)
    ) -> Any:
        """Return the list that psycopg adapts, or its text."""
        if value is None or connection.vendor == "postgresql":
            return value
        return json.dumps(value, separators=(",", ":"))

    def from_db_value(self, value: Any, _expression: object, _connection: object) -> Any:
        """Return the list."""
        return json.loads(value) if isinstance(value, str) else value

    def to_python(self, value: Any) -> Any:
        """Return the list, also from the text of a serializer."""
        return self.from_db_value(value, None, None)

    def value_to_string(self, obj: models.Model) -> str:
        """Return the text for a serializer."""
        return json.dumps(self.value_from_object(obj))


class Newest(models.Func):
    """The last of the ids in a column, which is the greatest."""

    arity = 1
    output_field = models.BigIntegerField()
    #: On MySQL: the text after the last comma, whatever JSON functions the server has.
    template = "CAST(REPLACE(REPLACE(SUBSTRING_INDEX(%(expressions)s, ',', -1), '[', ''), ']', '')"
    template += " AS SIGNED)"

    def as_postgresql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> Any:
        """Return the last element of the array."""
        last = "(%(expressions)s)[cardinality(%(expressions)s)]"
        return self.as_sql(compiler, connection, template=last, **context)

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> Any:
        """Return the last element of the JSON text."""
        last = "JSON_EXTRACT(%(expressions)s, '$[#-1]')"
        return self.as_sql(compiler, connection, template=last, **context)
