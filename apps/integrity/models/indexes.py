"""Indexes of a part of the rows, if the database supports it.

Note [Without conditions]: MySQL and MariaDB have no partial indexes, and a plain index of the same
columns would make every search read what has ended, which is most of the log. So an index names
other columns for these engines: first those by which ended rows are told apart, such as a time that
is null before or after. A search then reads the same rows as with the condition.

The condition is not named `condition`: for one with that name, Django warns every project with a
database that has no partial indexes (models.W037).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.backends.ddl_references import Statement


class PartialIndex(models.Index):
    """An index of the rows that meet a condition; where there is none, of the columns `plain`."""

    def __init__(self, *, where: models.Q, plain: Sequence[str] = (), **options: Any) -> None:
        """Take the condition; `plain` is left out where the columns are the same."""
        super().__init__(**options)
        self.where, self.plain = where, tuple(plain)

    def deconstruct(self) -> Any:
        """Return the index for a migration."""
        path, arguments, options = super().deconstruct()
        plain = {"plain": self.plain} if self.plain else {}
        return path, arguments, {**options, "where": self.where, **plain}

    def create_sql(
        self,
        model: type[models.Model],
        schema_editor: BaseDatabaseSchemaEditor,
        using: str = "",
        **kwargs: Any,
    ) -> Statement:
        """Return the statement that creates the index."""
        if schema_editor.connection.features.supports_partial_indexes:
            index = self._partial(schema_editor)
        else:
            index = models.Index(fields=self.plain or self.fields, name=self.name)
        return index.create_sql(model, schema_editor, using, **kwargs)

    def _partial(self, _editor: BaseDatabaseSchemaEditor) -> models.Index:
        return models.Index(fields=self.fields, name=self.name, condition=self.where)


class ValueIndex(PartialIndex):
    """Find rows by a value in a JSON column: a GIN index on PostgreSQL.

    On other databases, it is an index on the columns `plain`, which selects fewer rows to read.
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
            using = using or " USING gin"
        return super().create_sql(model, schema_editor, using, **kwargs)

    def _partial(self, editor: BaseDatabaseSchemaEditor) -> models.Index:
        if editor.connection.vendor != "postgresql":
            return models.Index(fields=self.plain, name=self.name, condition=self.where)
        return models.Index(
            fields=self.fields, name=self.name, opclasses=self.opclasses, condition=self.where
        )
