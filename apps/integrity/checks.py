"""What `manage.py check` finds out about the project, each with its remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db import connections, router

from . import conf, relations, triggers
from .models import Deletion

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .relations import Relation


def connect() -> None:
    """Register the checks."""
    checks.register(captured, checks.Tags.database)
    checks.register(logged, checks.Tags.database)
    checks.register(named)
    checks.register(related)


def captured(databases: Sequence[str] | None, **_: Any) -> list[checks.CheckMessage]:
    """E001: a trigger that the settings ask for is not there. Run by `check --database`."""
    return [
        checks.Error(
            f"Nothing records deletions of {parent} in {using!r}: its trigger is not there.",
            hint=f"Run `manage.py integrity install-triggers --database {using}`, or `migrate`.",
            obj=parent,
            id="integrity.E001",
        )
        for using in triggers.databases()
        if using in (databases or ())
        for parent in triggers.missing(using)
    ]


def named(**_: Any) -> list[checks.CheckMessage]:
    """E002: the settings name a relation or a parent that is none: they do not do what they say."""
    known, settings = relations.catalogue(), conf.current()
    subjects = {
        "scan_policy": ("relation", [each.label for each in known.relations]),
        "capture": ("parent", list(known.parents)),
    }
    return [
        checks.Error(
            f"INTEGRITY[{setting!r}] names {name!r}, which is no {what} of this project.",
            hint=f"Known: {', '.join(labels) or 'none'}.",
            obj=name,
            id="integrity.E002",
        )
        for setting, (what, labels) in subjects.items()
        if isinstance(given := getattr(settings, setting), Mapping)
        for name in given
        if name not in labels
    ]


def logged(databases: Sequence[str] | None, **_: Any) -> list[checks.CheckMessage]:
    """W002: parents are deleted where no log is. Run by `check --database`.

    A warning, because `migrate` runs it first and stops at errors.
    """
    table = Deletion._meta.db_table
    return [
        checks.Warning(
            f"The deletion log is not in {using!r}: there is no table {table!r}, so deletes fail.",
            hint=f"Run `manage.py migrate integrity --database {using}`. If it makes no table:"
            f' DATABASE_ROUTERS = ["{__package__}.routers.LogRouter", *DATABASE_ROUTERS]',
            obj=using,
            id="integrity.W002",
        )
        for using in relations.catalogue().log_databases
        if using in (databases or ())
        if table not in connections[using].introspection.table_names()
    ]


def related(**_: Any) -> list[checks.CheckMessage]:
    """What is wrong with each relation: see `problems`."""
    return [found for each in relations.catalogue().relations for found in problems(each)]


def problems(relation: Relation) -> Iterator[checks.CheckMessage]:
    """E003 to E005 and W001, of one relation. Asks the routers, and no database."""
    field, label = relation.field, relation.label
    if field.is_relation:  # else Django neither joins nor assigns through it
        yield from _problems_of_key(relation)
    if not relation.indexed:
        yield checks.Warning(
            f"No index begins with {label}: each cascade reads the whole table, and no scan runs.",
            hint=f"In {label}: {type(field).__name__}(..., db_index=True)",
            obj=field,
            id="integrity.W001",
        )


def _problems_of_key(relation: Relation) -> Iterator[checks.CheckMessage]:
    """E003 to E005."""
    field, parent, label = relation.field, relation.parent, relation.label
    home, elsewhere = relation.parent_databases[0], relation.child_databases[0]
    if field.db_constraint:  # type: ignore[attr-defined]  # not in the stubs
        yield checks.Error(
            f"{label} has db_constraint=True: {elsewhere!r} cannot refer to rows in {home!r}.",
            hint=f"In {label}: {type(field).__name__}(..., db_constraint=False)",
            obj=field,
            id="integrity.E003",
        )
    for method in ("db_for_read", "db_for_write"):
        if _answer(method, parent) is None:
            yield checks.Error(
                f"{method}({parent._meta.label}) is None in every router: Django would look for"
                f" the parents of {label} in {elsewhere!r}, where the child is.",
                hint=f"At the end of your router's {method}: return {home!r}",
                obj=field,
                id="integrity.E004",
            )
    if not _allowed(relation, home, elsewhere):
        yield checks.Error(
            f"allow_relation() denies {label} ({elsewhere!r} to {home!r}): assigning raises.",
            hint="In your router: def allow_relation(self, obj1, obj2, **hints): return True",
            obj=field,
            id="integrity.E005",
        )


def _answer(method: str, model: relations.Model) -> str | None:
    """What the routers say themselves, without what Django falls back to."""
    asked = (getattr(each, method, None) for each in router.routers)
    return next((alias for ask in asked if ask and (alias := ask(model))), None)


def _allowed(relation: Relation, home: str, elsewhere: str) -> bool:
    child, parent = relation.child(), relation.parent()
    child._state.db, parent._state.db = elsewhere, home  # noqa: SLF001 (as Django does)
    return bool(router.allow_relation(parent, child))
