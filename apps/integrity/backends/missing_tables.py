"""Which tables the engine needs in a database, and what to say of one that is not there.

After an error, `table` and what builds on it say more than the server's own words. They ask through
a connection that is still open, and wait for no other.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from django.apps import apps
from django.db import DataError, Error, IntegrityError, connections
from django.db.backends.utils import truncate_name

from .. import relations
from ..exceptions import FilteredRead
from ..exceptions.loggers import Origin, logger_of, origin_of
from ..exceptions.redaction import plain
from ..relations.columns import generic_of
from ..relations.plan import plan
from . import visibility
from .errors import database_of, described

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..relations import Model, Relation


def table(model: Model, *, using: str) -> str:
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


def absent(models: Iterable[Model], *, using: str) -> list[str]:
    """Return the names of those models' tables that are not in `using`, sorted. No views count."""
    there = {*connections[using].introspection.table_names()}
    wanted = {name_in(model, using=using) for model in models}
    return sorted(wanted - there)


def needed() -> dict[str, list[Model]]:
    """Return alias → the models of the project whose tables the engine reads or writes there.

    Both ends of each relation, what is below the children, and content types of generic relations.
    """
    found: dict[str, dict[Model, None]] = {}
    for relation in relations.catalogue().relations:
        for model, alias in tables_asked(relation):
            found.setdefault(alias, {})[model] = None
    return {alias: [*models] for alias, models in found.items()}


def own(using: str) -> list[Model]:
    """Return the models of this app that have a table in `using`."""
    models = apps.get_app_config("integrity").get_models()
    return [
        model
        for model in models
        if not model._meta.proxy and relations.holds(using, model._meta.model_name)
    ]


def name_in(model: Model, *, using: str) -> str:
    """The table's name as that database lists it."""
    connection = connections[using]
    name = truncate_name(model._meta.db_table, connection.ops.max_name_length())
    return connection.introspection.identifier_converter(name)


logger = logger_of("integrity.cascade")


def missing_table(relation: Relation, database: str | None = None) -> str:
    """Which table of parents, of children or below them is not there, and the remedy; or "".

    Or shows only a part of its rows. Or of content types, where a generic relation needs them. Of
    children those in `database`, if that is given.
    """
    wanted = tables_asked(relation, database)
    reasons = (table(model, using=alias) for model, alias in wanted)
    return next(filter(None, reasons), "") or _hidden(wanted)


def _hidden(wanted: Iterable[tuple[Model, str]]) -> str:
    """Return which of those tables shows only a part of its rows, why, and the remedy; or ""."""
    for model, alias in wanted:
        with suppress(Error):  # the first error is what counts
            if connections[alias].connection and (why := visibility.reason(model, alias)):
                return plain(FilteredRead(model._meta.db_table, alias, why))
    return ""


def tables(relation: Relation, database: str | None = None) -> list[tuple[Model, str]]:
    """Return the tables of a relation: children and what is below them, then parents.

    Each as a model and an alias; of children those in `database`, if that is given.
    """
    children = [relation.child]
    if relation.policy.cascades:
        children = [each.field.model for each in plan(relation).root.all]
    aliases = [database] if database else relation.child_databases
    found = [(model, alias) for alias in aliases for model in children]
    return [*found, *((relation.parent, home) for home in relation.parent_databases)]


def tables_asked(relation: Relation, database: str | None = None) -> list[tuple[Model, str]]:
    """Return the same, and the content types that a generic relation needs."""
    found = tables(relation, database)
    if generic := generic_of(relation.field):
        found.append((generic.column.remote_field.model, generic.content_types))
    return found


def failure(error: Exception, along: Iterable[Relation], database: str) -> tuple[str, Origin]:
    """What to say of an error of work in `database`, and the code that it came through.

    Of a table that is not there it says which and the remedy, and no code is to blame. The error's
    text, which may quote rows, is in the log at the level DEBUG only.
    """
    if isinstance(error, FilteredRead):
        return plain(error), Origin()
    # Rows that are refused are in tables that are there, and may be very many: none is looked up.
    if isinstance(error, Error) and not isinstance(error, IntegrityError | DataError):
        reasons = (missing_table(each, database) for each in along)
        if missing := next(filter(None, reasons), ""):
            return missing, Origin()
    logger.debug("an error of work in %s", database, exc_info=error)
    vendor = connections[database_of(error) or database].vendor
    return described(error, vendor), origin_of(error)
