"""Tables that are not there: what to say of them, instead of the error that each server words anew.

For after an error only. It asks through a connection that is still open, and waits for no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import Error, connections
from django.db.backends.utils import truncate_name

if TYPE_CHECKING:
    from django.db.models import Model


def table(model: type[Model], *, using: str) -> str:
    """Which table of the model is not in `using`, and the remedy; "" where it is, or no answer."""
    connection, named = connections[using], model._meta.db_table
    if connection.connection is None:
        return ""
    try:
        there = connection.introspection.table_names(include_views=True)
    except Error:
        return ""
    if name_in(model, using=using) in there or '"' in named:  # with quotes, in another schema
        return ""
    return f"there is no table {named!r} in {using!r}. Run `manage.py migrate --database {using}`"


def name_in(model: type[Model], *, using: str) -> str:
    """The table's name as that database lists it."""
    connection = connections[using]
    name = truncate_name(model._meta.db_table, connection.ops.max_name_length())
    return connection.introspection.identifier_converter(name)
