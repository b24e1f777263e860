"""Another collation for a column, for the length of a block."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db import models


@contextmanager
def collated(model: type[models.Model], name: str, collation: str, using: str) -> Iterator[None]:
    """Let the model's column have that collation. Not for a ForeignKey: it has its parent's."""
    old: Any = model._meta.get_field(name)
    new = old.clone()
    new.db_collation = collation
    new.set_attributes_from_name(name)
    new.model = model
    connection = connections[using]
    with connection.schema_editor() as editor:
        editor.alter_field(model, old, new)
    try:
        yield
    finally:
        with connection.schema_editor() as editor:
            editor.alter_field(model, new, old)
