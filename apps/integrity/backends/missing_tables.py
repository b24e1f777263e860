"""Which tables the engine needs in a database, and a sentence for one that is missing or filtered.

Every server words such an error in its own way. `missing_table` and what builds on it run after an
error: they use connections that are still open, and never open one.
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
from ..relations.plan import plan_for
from . import visibility
from .errors import database_of, described

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..relations import Model, Relation

logger = logger_of("integrity.cascade")


def missing_table(model: Model, *, using: str) -> str:
    """Return that the model's table is missing in `using`, with the remedy.

    Return "" where the table exists, where the connection is closed and where the server refuses to
    answer.
    """
    connection, table = connections[using], model._meta.db_table
    if connection.connection is None:
        return ""
    try:
        existing = connection.introspection.table_names(include_views=True)
    except Error:
        return ""
    if listed_name(model, using=using) in existing or '"' in table:  # quotes: in another schema
        return ""
    return f"there is no table {table!r} in {using!r}. Run `manage.py migrate --database {using}`"


def absent(models: Iterable[Model], *, using: str) -> list[str]:
    """Return the names of those models' tables that `using` lacks, sorted. A view is no table."""
    existing = {*connections[using].introspection.table_names()}
    return sorted({listed_name(model, using=using) for model in models} - existing)


def needed() -> dict[str, list[Model]]:
    """Return the models of the project whose tables the engine reads or writes, by alias.

    These are both ends of each relation, the models below the children, and content types of
    generic relations.
    """
    models_by_alias: dict[str, dict[Model, None]] = {}
    for relation in relations.catalogue().relations:
        for model, alias in tables_read(relation):
            models_by_alias.setdefault(alias, {})[model] = None
    return {alias: [*models] for alias, models in models_by_alias.items()}


def own(using: str) -> list[Model]:
    """Return the models of this app that have a table in `using`."""
    models = apps.get_app_config("integrity").get_models()
    return [
        model
        for model in models
        if not model._meta.proxy and relations.holds(using, model._meta.model_name)
    ]


def listed_name(model: Model, *, using: str) -> str:
    """Return the name under which the database `using` lists the model's table."""
    connection = connections[using]
    name = truncate_name(model._meta.db_table, connection.ops.max_name_length())
    return connection.introspection.identifier_converter(name)


def unusable_table(relation: Relation, database: str | None = None) -> str:
    """Return which table of the relation is missing or filtered, with the remedy; or "".

    The tables are those of `tables_read`.
    """
    tables = tables_read(relation, database)
    reasons = (missing_table(model, using=alias) for model, alias in tables)
    return next(filter(None, reasons), "") or _filtered(tables)


def _filtered(tables: Iterable[tuple[Model, str]]) -> str:
    """Return which table shows only a part of its rows, why, and the remedy; or ""."""
    for model, alias in tables:
        with suppress(Error):  # the first error is what counts
            if connections[alias].connection and (why := visibility.reason(model, alias)):
                return plain(FilteredRead(model._meta.db_table, alias, why))
    return ""


def tables_of(relation: Relation, database: str | None = None) -> list[tuple[Model, str]]:
    """Return the relation's tables, each as a model and an alias: first children, then parents.

    With the children come the models that a cascade reaches below them. Only tables of children in
    `database`, if that is given.
    """
    children = [relation.child]
    if relation.policy.cascades:
        children = [node.field.model for node in plan_for(relation).root.all]
    aliases = [database] if database else relation.child_databases
    tables = [(model, alias) for alias in aliases for model in children]
    return [*tables, *((relation.parent, home) for home in relation.parent_databases)]


def tables_read(relation: Relation, database: str | None = None) -> list[tuple[Model, str]]:
    """Return the tables of `tables_of`, and the content types that a generic relation needs."""
    tables = tables_of(relation, database)
    if generic := generic_of(relation.field):
        tables.append((generic.column.remote_field.model, generic.content_types))
    return tables


def describe(error: Exception, along: Iterable[Relation], database: str) -> tuple[str, Origin]:
    """Return a reason for an error of work in `database`, and the project's code that raised it.

    Where a table of the relations `along` is missing, the reason names it and the remedy, and there
    is no code to name. The error's own text may quote rows, so it is only logged, at level DEBUG.
    """
    if isinstance(error, FilteredRead):
        return plain(error), Origin()
    # Refused rows are in tables that exist, and such errors may be many: look up no table for them.
    if isinstance(error, Error) and not isinstance(error, IntegrityError | DataError):
        reasons = (unusable_table(relation, database) for relation in along)
        if reason := next(filter(None, reasons), ""):
            return reason, Origin()
    logger.debug("an error of work in %s", database, exc_info=error)
    vendor = connections[database_of(error) or database].vendor
    return described(error, vendor), origin_of(error)
