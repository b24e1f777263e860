"""What an unknown name may be called today: a guess that an operator has to confirm.

It is made from the project's migrations, its catalogue and the names in the log. Read-only.
"""

from __future__ import annotations

import functools

from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import RenameField, RenameModel

from .. import relations
from ..exceptions.loggers import logger_of
from ..exceptions.suggestions import closest
from ..log.names import open_databases, open_names
from ..models import Scan

logger = logger_of("integrity.report")

#: Renames that follow each other are followed so far.
CHAIN = 20


def guess(kind: str, name: str, using: str) -> str:
    """Return the likely new name of an alias, a model or a relation, or ""."""
    catalogue = relations.catalogue()
    children = [relation.child._meta.label for relation in catalogue.relations]
    names = {
        "alias": [*catalogue.places],
        "model": list(dict.fromkeys([*catalogue.parents, *children])),
        "relation": [*catalogue.by_label],
    }[kind]
    if kind != "alias" and (new := renamed(name)) in names:
        return new
    if kind == "model" and (new := _of_table(name)) in names:
        return new
    fresh = [candidate for candidate in names if candidate not in _seen(kind, using)]
    return fresh[0] if len(fresh) == 1 else closest(name, fresh or names)


def renamed(name: str) -> str:
    """Return a model's or a relation's name after the renames in the project's migrations."""
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
    """Return old model → new one, and (model, old field) → new field. Reads files, no database."""
    models: dict[str, str] = {}
    fields: dict[tuple[str, str], str] = {}
    try:
        loader = MigrationLoader(None)
    except Exception:  # a report must not fail for want of a guess
        logger.exception("the project's migrations cannot be read")
        return models, fields
    for (app, _), migration in sorted(loader.disk_migrations.items()):
        for operation in migration.operations:
            if isinstance(operation, RenameModel):
                models[f"{app}.{operation.old_name}".lower()] = f"{app}.{operation.new_name}"
            elif isinstance(operation, RenameField):
                model = f"{app}.{operation.model_name}".lower()
                fields[model, operation.old_name] = operation.new_name
    return models, fields


def _of_table(name: str) -> str:
    """Return the model that has the default table of a model with that name, or ""."""
    table = name.replace(".", "_").lower()
    known = relations.catalogue().relations
    models = {model for relation in known for model in (relation.parent, relation.child)}
    return next((model._meta.label for model in models if model._meta.db_table == table), "")


def _seen(kind: str, using: str) -> set[str]:
    """Return the names of that kind in open work and in scans of one log."""
    scans = Scan.objects.using(using)
    names = open_names(using=using)
    labels = {*scans.values_list("relation", flat=True), *(relation for _, relation in names)}
    if kind == "alias":
        return {*scans.values_list("database", flat=True), *open_databases(using=using)}
    if kind == "model":
        children = {label.partition("@")[0].rpartition(".")[0] for label in labels}
        return children | {parent for parent, _ in names}
    return labels
