"""Keys of historical models: those that migrations make, with the names that models had then.

Django sends `class_prepared` for each of them. Names that today's models have are judged as these
are; older ones by the routers' answers about the historical model. No queries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import models
from django.db.migrations.state import StateApps

from ..exceptions import RouterFailed
from .homes import databases_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .relation import ForeignKey, Model


def is_historical(model: Model) -> bool:
    """Return whether the model was made for a migration."""
    return isinstance(model._meta.apps, StateApps)


def crossing_keys(model: Model) -> Iterator[ForeignKey]:
    """Yield the keys of a model, of today or historical, whose parents are in other databases."""
    for field in model._meta.local_fields:
        if not isinstance(field, models.ForeignKey) or field.remote_field.parent_link:
            continue
        if _crosses(model, field.remote_field.model):
            yield field


def todays(label: str) -> Model | None:
    """Return today's model with that label; None if there is none."""
    try:
        return apps.get_model(label)
    except (LookupError, ValueError):
        return None


def _crosses(model: Model, target: Any) -> bool:
    """Return whether the routers give the two ends different databases."""
    label = target if isinstance(target, str) else target._meta.label
    if label == "self":
        return False
    if "." not in label:  # as "User", in the app of the model
        label = f"{model._meta.app_label}.{label}"
    parent = todays(label) or (None if isinstance(target, str) else target)
    child = todays(model._meta.label) or model
    if parent is None:
        return False
    try:
        # The class of an automatic through table may be made before that of its owner is complete.
        parent = parent._meta.concrete_model or parent
        return set(databases_for(parent)) != set(databases_for(child))
    except RouterFailed:  # it does not know the old name
        return False
