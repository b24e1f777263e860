"""One row of a table of this app, by its primary key.

A worker reads several before each claim, and the ORM takes longer to write such a statement than
the server to answer it. So it is written once for each table and database.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import connections
from django.db.models import QuerySet

if TYPE_CHECKING:
    from django.db.models import Model

    M = TypeVar("M", bound=Model)


def row_with_pk(model: type[M], pk: Any, *, using: str) -> M | None:
    """Return the row with that primary key, or None."""
    rows: QuerySet[M] = QuerySet(model=model, using=using)
    return next(iter(rows.raw(_statement(model, using), [pk])), None)


@functools.lru_cache(maxsize=256)
def _statement(model: type[Model], using: str) -> str:
    meta, quote = model._meta, connections[using].ops.quote_name
    columns = ", ".join(quote(str(field.column)) for field in meta.concrete_fields)
    return f"SELECT {columns} FROM {quote(meta.db_table)} WHERE {quote(str(meta.pk.column))} = %s"
