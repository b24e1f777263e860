"""An index of the values in a JSON document, where the database has one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.backends.ddl_references import Statement


class ValueIndex(models.Index):
    """Find rows by what a JSON column contains: GIN on PostgreSQL.

    Elsewhere it is an index of the column `parent`, by which such rows are at least narrowed down.
    """

    def create_sql(
        self,
        model: type[models.Model],
        schema_editor: BaseDatabaseSchemaEditor,
        using: str = "",
        **kwargs: Any,
    ) -> Statement:
        """Return the statement that creates it."""
        if schema_editor.connection.vendor == "postgresql":
            return super().create_sql(model, schema_editor, using or " USING gin", **kwargs)
        plain = models.Index(fields=["parent"], name=self.name, condition=self.condition)
        return plain.create_sql(model, schema_editor, using, **kwargs)
