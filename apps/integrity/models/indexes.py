"""An index of the values in a JSON column, if the database supports it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.backends.ddl_references import Statement


class ValueIndex(models.Index):
    """Find rows by a value in a JSON column: a GIN index on PostgreSQL.

    On other databases, it is an index on the column `parent`, which selects fewer rows to read.
    """

    def create_sql(
        self,
        model: type[models.Model],
        schema_editor: BaseDatabaseSchemaEditor,
        using: str = "",
        **kwargs: Any,
    ) -> Statement:
        """Return the statement that creates the index."""
        if schema_editor.connection.vendor == "postgresql":
            return super().create_sql(model, schema_editor, using or " USING gin", **kwargs)
        plain = models.Index(fields=["parent"], name=self.name, condition=self.condition)
        return plain.create_sql(model, schema_editor, using, **kwargs)
