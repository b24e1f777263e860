"""Constraints that a table already had when the settings began to leave them out."""

from __future__ import annotations

import sys
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from django.core import checks

from ...backends import foreign_keys
from ...checks.scope import scoped
from ...exceptions.loggers import logger_of
from ...relations.homes import databases_for
from ...relations.relation import label
from . import keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ...relations import Field, Model

logger = logger_of("integrity.unconstrained")


def drop(using: str, verbosity: int = 1, stdout: Any = None, **_: Any) -> None:
    """`post_migrate`: drop them in the database that was migrated."""
    for model, fields in _left(using):
        foreign_keys.drop_constraints(model, fields, using=using)
        names = ", ".join(map(label, fields))
        logger.info("dropped constraints in %s: %s", using, names)
        if verbosity:
            print(f"  Dropped the constraint of {names}", file=stdout or sys.stdout)


def remaining(databases: Sequence[str] | None, **_: Any) -> list[checks.CheckMessage]:
    """W035: a constraint is still there."""
    return [
        checks.Warning(
            f"{label(field)} still has a constraint in {using!r}, which refuses rows whose parents"
            " are in another database.",
            hint=f"Run `manage.py migrate --database {using}`, which drops it.",
            obj=field,
            id="integrity.W035",
        )
        for using in databases or ()
        for _, fields in _left(using)
        for field in fields
    ]


def _left(using: str) -> Iterator[tuple[Model, list[Field]]]:
    """Yield the models with freed keys that have a constraint in that database."""
    by_model: dict[Model, list[Field]] = defaultdict(list)
    for field in keys.freed:
        if field.model._meta.managed and using in databases_for(field.model):
            by_model[field.model].append(field)
    for model, fields in by_model.items():
        if found := foreign_keys.constrained(model, fields, using=using):
            yield model, found


CHECKS = scoped(remaining)
