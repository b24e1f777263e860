"""What an unknown name may be called today. A guess: whoever renames looks first.

Takes the project's migrations, its catalogue and what the log has seen. Changes nothing.
"""

from __future__ import annotations

import difflib
import functools
from typing import TYPE_CHECKING

from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import RenameField, RenameModel

from .. import relations
from ..exceptions.loggers import logger_of
from ..log.names import open_databases, open_names
from ..models import Scan

if TYPE_CHECKING:
    from collections.abc import Iterable

logger = logger_of("integrity.report")

#: Renames that follow each other are followed so far.
CHAIN = 20
#: How alike two names have to be, from 0 to 1.
ALIKE = 0.6


def guess(kind: str, name: str, using: str) -> str:
    """The new name of an alias, a model or a relation, or ""."""
    found = relations.catalogue()
    known = {
        "alias": [*found.child_databases],
        "model": list(
            dict.fromkeys([*found.parents, *(each.child._meta.label for each in found.relations)])
        ),
        "relation": [each.label for each in found.relations],
    }[kind]
    if kind != "alias" and (new := renamed(name)) in known:
        return new
    if kind == "model" and (new := _of_table(name)) in known:
        return new
    fresh = [each for each in known if each not in _seen(kind, using)]
    return fresh[0] if len(fresh) == 1 else _alike(name, fresh or known)


def renamed(name: str) -> str:
    """What the project's migrations have made of a model's or a relation's name."""
    models, fields = _renames()
    field, _, parent = name.partition("@")
    app_model, _, last = field.rpartition(".")
    if "." not in app_model:
        return _followed(name, models)
    for _ in range(CHAIN):
        if (new := fields.get((app_model.lower(), last))) is None:
            break
        last = new
    label = f"{_followed(app_model, models)}.{last}"
    return f"{label}@{_followed(parent, models)}" if parent else label


def _followed(label: str, models: dict[str, str]) -> str:
    for _ in range(CHAIN):
        if (new := models.get(label.lower())) is None:
            break
        label = new
    return label


@functools.cache
def _renames() -> tuple[dict[str, str], dict[tuple[str, str], str]]:
    """Old model → new one; model and old field → new one. By the files, without a query."""
    models: dict[str, str] = {}
    fields: dict[tuple[str, str], str] = {}
    try:
        loader = MigrationLoader(None)
    except Exception:  # a guess must not stop whoever reports
        logger.exception("the project's migrations cannot be read")
        return models, fields
    for (app, _), migration in sorted(loader.disk_migrations.items()):
        for each in migration.operations:
            if isinstance(each, RenameModel):
                models[f"{app}.{each.old_name}".lower()] = f"{app}.{each.new_name}"
            elif isinstance(each, RenameField):
                fields[f"{app}.{each.model_name}".lower(), each.old_name] = each.new_name
    return models, fields


def _of_table(name: str) -> str:
    """The model whose table is the one that a model of that name would have by default."""
    table = name.replace(".", "_").lower()
    found = relations.catalogue().relations
    models = {model for each in found for model in (each.parent, each.child)}
    return next((each._meta.label for each in models if each._meta.db_table == table), "")


def _seen(kind: str, using: str) -> set[str]:
    """Names of that kind that the log has open work, or a scan, under."""
    scans = Scan.objects.using(using)
    names = open_names(using=using)
    labels = {*scans.values_list("relation", flat=True), *(relation for _, relation in names)}
    if kind == "alias":
        return {*scans.values_list("database", flat=True), *open_databases(using=using)}
    if kind == "model":
        children = {label.partition("@")[0].rpartition(".")[0] for label in labels}
        return children | {parent for parent, _ in names}
    return labels


def _alike(name: str, known: Iterable[str]) -> str:
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=ALIKE)), "")
