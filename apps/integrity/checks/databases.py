"""Checks of the databases' content. They query, and run only for the databases that are named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db import connections

from .. import declared, relations
from ..backends import missing_tables, visibility
from ..backends.addresses import address
from ..backends.connections import reach
from ..backends.postgresql.triggers.installed import Harm
from ..capture import triggers
from ..exceptions import DatabaseUnreachable
from ..models import Deletion
from . import comparisons, pressure, schemas
from .scope import scoped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..backends.postgresql.triggers.installed import Fault
    from ..relations import Model


def captured(databases: Sequence[str] | None, **_: Any) -> list[checks.CheckMessage]:
    """E001, E021, W022: a trigger is missing, grants rights to other roles, or was changed."""
    return [
        _faulty(fault, using)
        for using in triggers.databases()
        if using in (databases or ())
        for fault in triggers.faults(using)
    ]


def _faulty(fault: Fault, using: str) -> checks.CheckMessage:
    remedy = f"Run `manage.py integrity install-triggers --database {using}`"
    if fault.harm is Harm.UNRECORDED:
        return checks.Error(
            f"Nothing records deletions of {fault.subject} in {using!r}: {fault.text}.",
            hint=f"{remedy}.",
            obj=fault.subject,
            id="integrity.E001",
        )
    text = f"The capture of {fault.subject} in {using!r}: {fault.text}."
    if fault.harm is Harm.EXPOSED:
        hint = f"{remedy} now, and find out who could have used it."
        return checks.Error(text, hint=hint, obj=fault.subject, id="integrity.E021")
    hint = f"{remedy}, and find out who changed it."
    return checks.Warning(text, hint=hint, obj=fault.subject, id="integrity.W022")


def logged(databases: Sequence[str] | None, **_: Any) -> list[checks.CheckMessage]:
    """W002: a database with parents has no deletion log.

    A warning, because `migrate` runs it first and stops at errors.
    """
    table, package = Deletion._meta.db_table, declared.__package__
    return [
        checks.Warning(
            f"The deletion log is not in {using!r}: there is no table {table!r}, so deletes fail.",
            hint=f"Run `manage.py migrate integrity --database {using}`. If it makes no table:"
            f' DATABASE_ROUTERS = ["{package}.routers.LogRouter", *DATABASE_ROUTERS]',
            obj=using,
            id="integrity.W002",
        )
        for using in relations.catalogue().log_databases
        if using in (databases or ())
        if missing_tables.absent([Deletion], using=using)
    ]


def haunted(databases: Sequence[str] | None, **_: Any) -> list[checks.CheckMessage]:
    """W004: a table of one end of a relation also exists in the database of the other end."""
    wanted = dict.fromkeys(_ghosts())
    tables = {
        alias: set(connections[alias].introspection.table_names())
        for alias in dict.fromkeys(alias for alias, _, _ in wanted)
        if alias in (databases or ())
    }
    return [
        checks.Warning(
            f"{model._meta.label} is in {home!r}, but {alias!r} has a table {table!r}, too:"
            " queries that JOIN or count it there succeed, with wrong results.",
            hint=f"In your router's allow_migrate: if app_label == {model._meta.app_label!r}:"
            f" return db == {home!r}. Then look at what the table in {alias!r} holds, and drop it"
            " if nothing needs it.",
            obj=model,
            id="integrity.W004",
        )
        for alias, model, home in wanted
        if (table := missing_tables.listed_name(model, using=alias)) in tables.get(alias, ())
    ]


def _ghosts() -> Iterator[tuple[str, Model, str]]:
    """Yield each alias and model whose table does not belong there, and the model's home."""
    for relation in relations.catalogue().relations:
        parents, children = relation.parent_databases, relation.child_databases
        for model, homes, others in (
            (relation.parent, parents, children),
            (relation.child, children, parents),
        ):
            places = {address(alias) for alias in homes}
            yield from (
                (alias, model, homes[0])
                for alias in others
                if alias not in homes and not places & {address(alias), None}
            )


def shown(databases: Sequence[str] | None, **_: Any) -> list[checks.CheckMessage]:
    """E013, E014: rows that a decision needs may be hidden from the role that runs this."""
    return [
        _hidden(model, alias, cause, f"{model._meta.label} in {alias!r}: {why}.")
        for alias, models in _concerned().items()
        if alias in (databases or ())
        for model, (cause, why) in visibility.causes(models, alias).items()
    ]


def _hidden(model: Model, alias: str, cause: str, text: str) -> checks.CheckMessage:
    wait = f"Until then, work in {alias!r} that needs the table {model._meta.db_table!r} waits."
    if cause in visibility.ONLY_HIDES:
        hint = f"{wait} Run this with the settings of the workers: another role may see less."
        return checks.Error(text, hint=hint, obj=model, id="integrity.E013")
    return checks.Error(text, hint=wait, obj=model, id="integrity.E014")


def ruled(databases: Sequence[str] | None, **_: Any) -> list[checks.CheckMessage]:
    """W012: a rule of PostgreSQL rewrites deletes from a table, or updates of it."""
    return [
        checks.Warning(
            f"{model._meta.label} in {alias!r} has the rule {rule!r} for DELETE or UPDATE: the"
            " server does something else instead, or in addition, and reports no number of rows.",
            hint=f"Replace it with a trigger, then: DROP RULE {rule} ON {model._meta.db_table}.",
            obj=model,
            id="integrity.W012",
        )
        for alias, models in _concerned().items()
        if alias in (databases or ())
        for model, rule in visibility.rules(models, alias)
    ]


def _concerned() -> dict[str, list[Model]]:
    """Return alias → the models that the engine reads or writes there, ours among them."""
    return {
        alias: [*models, *missing_tables.own(alias)]
        for alias, models in missing_tables.needed().items()
    }


def asked(databases: Sequence[str] | None, **_: Any) -> list[checks.CheckMessage]:
    """E012: a named database does not answer. Run the checks above on those that do."""
    messages, answering = list[checks.CheckMessage](), list[str]()
    for alias in relations.catalogue().databases:
        if alias not in (databases or ()):
            continue
        try:
            reach(alias)
        except DatabaseUnreachable as error:
            messages.append(_unreachable(error))
        else:
            answering.append(alias)
    return [*messages, *(message for look in LOOKS for message in look(answering))]


def _unreachable(error: DatabaseUnreachable) -> checks.CheckMessage:
    return checks.Error(
        f"{error.database!r} cannot be reached, so it was not checked: {error.reason}",
        hint=f"Check the server, or DATABASES[{error.database!r}]; then run this again.",
        obj=error.database,
        id="integrity.E012",
    )


LOOKS = (captured, logged, haunted, shown, ruled, comparisons.unlike, pressure.told, *schemas.LOOKS)
CHECKS = scoped(asked)
