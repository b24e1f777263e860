"""Models and fields for the names in `INTEGRITY["relations"]`. No queries.

Each function raises `InvalidSetting` for a wrong name, with the value and the remedy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, cast

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db import models

from ..exceptions import InvalidSetting

if TYPE_CHECKING:
    from collections.abc import Iterable

Model: TypeAlias = type[models.Model]
Field: TypeAlias = "models.Field[Any, Any]"


def is_generic_foreign_key(field: object) -> bool:
    """Return whether it is a GenericForeignKey, by its attributes: its class may not be there."""
    return hasattr(field, "ct_field") and hasattr(field, "fk_field")


def own_column(model: Model, name: str) -> Field:
    """Return a column of the model's own table."""
    field = _named(model, name)
    if field.model is not model:
        raise invalid(
            f"{label_of(field)} is a column of {field.model._meta.label}: declare it there"
        )
    return cast("Field", field)


def _named(model: Model, name: str) -> Any:
    try:
        return model._meta.get_field(name)
    except FieldDoesNotExist:
        known = listed(field.name for field in model._meta.concrete_fields)
        raise invalid(f"{model._meta.label} has no column {name!r}; known: {known}") from None


def field_of(name: object) -> Any:
    """Return the column or the GenericForeignKey with that label."""
    if not isinstance(name, str) or name.count(".") != 2:  # noqa: PLR2004 (app.Model.field)
        raise invalid(f'{name!r} names no column; write it as in "analytics.Event.user_key"')
    label, _, field_name = name.rpartition(".")
    model = model_of(label)
    field = _named(model, field_name)
    if generic := _generic_with(model, field_name):
        raise invalid(
            f"{name} belongs to the generic relation {generic!r}, whose rows refer to several"
            " models: as keys of one parent, rows of all of them would be deleted. Declare the"
            " GenericForeignKey, as in"
            ' Relation("notes.Note.content_object", "auth.User", content_types="default")'
        )
    if is_generic_foreign_key(field):
        return field
    if field not in model._meta.concrete_fields:
        raise invalid(f"{name} ({type(field).__name__}) is not a column of the model's table")
    if field.is_relation:
        raise invalid(
            f"{name} is declared in its model already ({type(field).__name__}): remove it here."
            " It is in the catalogue when the routers give its parent another database"
        )
    return own_column(model, field_name)


def _generic_with(model: Model, name: str) -> str:
    """Return the GenericForeignKey that has the column, or the GenericRelation; "" if neither."""
    for field in model._meta.private_fields:
        own_name = "" if is_generic_foreign_key(field) else field.name
        if name in {own_name, getattr(field, "fk_field", ""), getattr(field, "ct_field", "")}:
            return str(field.name)
    return ""


def parent_of(name: object) -> Model:
    """Return the model with that label. A model that was swapped out is refused."""
    if not isinstance(name, str) or name.count(".") != 1:
        raise invalid(f'{name!r} names no parent; write it as in "auth.User"')
    model = model_of(name)
    if swapped := model._meta.swapped:
        raise invalid(f"{name} is not in use here: name {swapped!r}, or settings.AUTH_USER_MODEL")
    return model


def model_of(label: str) -> Model:
    """Return the model with that label."""
    app, _, name = label.partition(".")
    try:
        models_of = apps.get_app_config(app)
    except LookupError:
        known = listed(config.label for config in apps.get_app_configs())
        raise invalid(f"the app of {label} is not installed; known: {known}") from None
    try:
        return models_of.get_model(name)
    except LookupError:
        known = listed(model._meta.object_name for model in models_of.get_models())
        raise invalid(f"{app} has no model {name!r}; known: {known}") from None


def target_of(parent: Model, to_field: object) -> Field:
    """Return the field of the parent whose values the rows store."""
    concrete = parent._meta.concrete_model
    assert concrete is not None, f"{parent._meta.label} is abstract"
    if not to_field and concrete._meta.pk is not None:
        return concrete._meta.pk
    known = {field.name: field for field in concrete._meta.local_concrete_fields if field.unique}
    try:
        return known[cast("str", to_field)]
    except (KeyError, TypeError):
        raise invalid(
            f"{parent._meta.label} has no unique field {to_field!r} for to_field;"
            f" known: {listed(known)}"
        ) from None


def label_of(field: Field) -> str:
    """Return a field's label, such as "analytics.Event.user_key"."""
    return f"{field.model._meta.label}.{field.name}"


def listed(names: Iterable[str | None]) -> str:
    """Return the names as one line of text."""
    return ", ".join(map(str, names)) or "none"


def invalid(text: str) -> InvalidSetting:
    """Return an error to raise."""
    return InvalidSetting(f"INTEGRITY['relations']: {text}")
