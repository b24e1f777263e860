"""Files that stay when a cascade removes the rows that name them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core import checks
from django.db.models import FileField
from django.db.models.signals import post_delete

from .. import relations
from ..exceptions import InvalidSetting
from ..relations.relation import label
from ..relations.removed import models_removed
from .celery import PACKAGE
from .keys import some
from .scope import scoped

if TYPE_CHECKING:
    from ..relations import Catalogue, Field, Model

#: The app that connects receivers for all file fields, when it is ready.
CLEANUP = "django_cleanup"


def left(**_: Any) -> list[checks.CheckMessage]:
    """W039: a cascade removes rows that name files, and nothing deletes the files."""
    if apps.is_installed(CLEANUP):
        return []
    return [
        checks.Warning(
            f"Cascades along {some(labels)} remove rows of {model._meta.label}, and leave the files"
            f" of {some([label(field) for field in fields])}.",
            hint='INTEGRITY["steps"] = {"files":'
            f' "{PACKAGE}.contrib.erasure.FieldFiles"}} deletes them, with proof. A receiver of'
            " post_delete for the model, which deletes them, silences this. So does"
            ' SILENCED_SYSTEM_CHECKS = ["integrity.W039"], if files may stay.',
            obj=model,
            id="integrity.W039",
        )
        for model, labels in _removed(relations.catalogue()).items()
        if (fields := _file_fields(model)) and not _has_receiver(model)
    ]


def _removed(catalogue: Catalogue) -> dict[Model, list[str]]:
    """Return the models whose rows cascades remove and no step covers, with the relations."""
    found: dict[Model, list[str]] = {}
    try:
        covered = catalogue.covered
    except InvalidSetting:  # which is another check's message
        return {}
    for relation in catalogue.relations:
        for model in models_removed(relation):
            if model not in covered.get(relation.label, ()):
                found.setdefault(model, []).append(relation.label)
    return found


def _file_fields(model: Model) -> list[Field]:
    return [field for field in model._meta.local_fields if isinstance(field, FileField)]


def _has_receiver(model: Model) -> bool:
    """Return whether the project has a receiver for deleted rows of this very model."""
    return any(key[1] == id(model) for key, *_ in post_delete.receivers)


CHECKS = scoped(left)
