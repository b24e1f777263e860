"""Constraints of foreign keys that a database has, and their removal."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

from django.apps import apps
from django.db import connections
from django.db.migrations.state import ProjectState

from . import missing_tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..relations import Field, Model


def constrained(model: Model, fields: Iterable[Field], *, using: str) -> list[Field]:
    """Return those of the model's keys that have a constraint in that database."""
    if missing_tables.absent([model], using=using):
        return []
    connection = connections[using]
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, model._meta.db_table)
    columns = [each["columns"] for each in found.values() if each.get("foreign_key")]
    return [field for field in fields if [field.column] in columns]


def drop_constraints(model: Model, fields: Sequence[Field], *, using: str) -> None:
    """Drop the constraints of those keys, with the operations of Django's migrations.

    The keys' `db_constraint` has to be False already.
    """
    # SQLite makes the table anew from the fields' clones; those of today's models are as written.
    model = cast("Model", ProjectState.from_apps(apps).apps.get_model(model._meta.label))
    for name in [field.name for field in fields]:
        free: Any = model._meta.get_field(name)
        bound = copy.copy(free)
        bound.db_constraint = True
        with connections[using].schema_editor() as editor:
            editor.alter_field(model, bound, free)
