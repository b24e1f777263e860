"""Declared relations → keys that the engine takes for the ForeignKeys they could have been.

Takes `INTEGRITY["relations"]`; gives a copy of each column that knows its parent. The models, and
so their migrations, stay as they are. No queries.

Note [Canonical text]: a text column may hold the keys of parents whose keys are no text. Only the
text that Django itself would write (`7`, a UUID in lower case with hyphens) is a key. `007`, ` 7`
or `anonymous` refer to nobody: such rows are never touched, and are no orphans either.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db import models

from . import conf, declared
from .exceptions import InvalidSetting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django.db.backends.base.base import BaseDatabaseWrapper

    PlainField = models.Field[Any, Any]
else:
    PlainField = models.Field

Model: TypeAlias = type[models.Model]
Field: TypeAlias = "models.Field[Any, Any]"

TEXT = (models.CharField, models.TextField)
#: The characters of a UUID's canonical text.
UUID_CHARS = 36

POLICIES: dict[str, Callable[..., None]] = {
    "CASCADE": models.CASCADE,
    "PROTECT": models.PROTECT,
    "RESTRICT": models.RESTRICT,
    "SET_NULL": models.SET_NULL,
    "SET_DEFAULT": models.SET_DEFAULT,
    "DO_NOTHING": models.DO_NOTHING,
}


class Column(PlainField):
    """A model's own field, copied, with what the engine asks a ForeignKey for.

    Its values are those of the rows. See Note [Canonical text] for what `writes_text` says.
    Integers are compared as the widest kind: the two tables may have different ones.
    """

    db_constraint = False
    target_field: Field
    writes_text: bool

    def rel_db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        """The type to compare keys in."""
        if isinstance(self, models.IntegerField):
            return models.BigIntegerField().db_type(connection)
        return super().rel_db_type(connection)

    def get_db_prep_value(
        self,
        value: Any,
        connection: BaseDatabaseWrapper,
        prepared: bool = False,  # noqa: FBT001, FBT002 (Django's signature)
    ) -> Any:
        """A value of that type."""
        if isinstance(self, models.IntegerField):
            return models.BigIntegerField().get_db_prep_value(value, connection, prepared)
        return super().get_db_prep_value(value, connection, prepared)


_classes: dict[type[Field], type[Column]] = {}


def columns() -> list[Column]:
    """The columns of `INTEGRITY["relations"]`.

    Raises `InvalidSetting` for what no ForeignKey could be, naming the value and the remedy.
    """
    found: dict[str, Column] = {}
    for each in conf.current().relations:
        column = _column(each)
        label = _label(column)
        if label in found:
            raise _invalid(f"{label} is declared twice; a column has one parent")
        found[label] = column
    return list(found.values())


def _column(given: declared.Relation) -> Column:
    field, parent = _field(given.field), _parent(given.parent)
    target = _target(parent, given.to_field)
    _require_type(field, target)
    column = copy.copy(field)
    column.__class__ = _class_of(type(field))
    assert isinstance(column, Column)
    column.target_field = target
    column.writes_text = isinstance(field, TEXT) and not isinstance(origin(target), TEXT)
    column.remote_field = models.ManyToOneRel(
        cast("models.ForeignKey[Any, Any]", column),
        parent,
        target.name,
        related_name="+",
        on_delete=_on_delete(given, field),
    )
    return column


def _class_of(kind: type[Field]) -> type[Column]:
    """A subclass under the same name, as messages tell it."""
    if kind not in _classes:
        _classes[kind] = cast("type[Column]", type(kind.__name__, (Column, kind), {}))
    return _classes[kind]


def _field(name: object) -> Field:
    if not isinstance(name, str) or name.count(".") != 2:  # noqa: PLR2004
        raise _invalid(f'{name!r} names no column; write it as in "analytics.Event.user_key"')
    label, _, field_name = name.rpartition(".")
    model = _model(label)
    try:
        field = model._meta.get_field(field_name)
    except FieldDoesNotExist:
        known = _listed(each.name for each in model._meta.concrete_fields)
        raise _invalid(f"{label} has no column {field_name!r}; known: {known}") from None
    if generic := _generic(model, field_name):
        raise _invalid(
            f"{name} is of the generic relation {generic!r}, whose rows refer to several models:"
            " as keys of one parent, rows of all would go. Only a column that holds keys of one"
            " parent can be declared; for this one, listen to the signal deletion_recorded"
        )
    if field not in model._meta.concrete_fields:
        raise _invalid(f"{name} ({type(field).__name__}) is no column of the model's table")
    if field.is_relation:
        raise _invalid(
            f"{name} is declared in its model already ({type(field).__name__}): remove it here."
            " It is in the catalogue when the routers give its parent another database"
        )
    if field.model is not model:
        raise _invalid(f"{name} is a column of {field.model._meta.label}: declare it there")
    return cast("Field", field)


def _generic(model: Model, name: str) -> str:
    """The generic relation that it is, or is the column of; "" for none."""
    for each in model._meta.private_fields:
        if name in {each.name, getattr(each, "fk_field", ""), getattr(each, "ct_field", "")}:
            return str(each.name)
    return ""


def _parent(name: object) -> Model:
    if not isinstance(name, str) or name.count(".") != 1:
        raise _invalid(f'{name!r} names no parent; write it as in "auth.User"')
    model = _model(name)
    if swapped := model._meta.swapped:
        raise _invalid(f"{name} is not in use here: name {swapped!r}, or settings.AUTH_USER_MODEL")
    return model


def _model(label: str) -> Model:
    app, _, name = label.partition(".")
    try:
        models_of = apps.get_app_config(app)
    except LookupError:
        known = _listed(each.label for each in apps.get_app_configs())
        raise _invalid(f"{label} is of no installed app; known: {known}") from None
    try:
        return models_of.get_model(name)
    except LookupError:
        known = _listed(each._meta.object_name for each in models_of.get_models())
        raise _invalid(f"{app} has no model {name!r}; known: {known}") from None


def _target(parent: Model, to_field: object) -> Field:
    concrete = parent._meta.concrete_model
    assert concrete is not None, f"{parent._meta.label} is abstract"
    if not to_field and concrete._meta.pk is not None:
        return concrete._meta.pk
    known = {each.name: each for each in concrete._meta.local_concrete_fields if each.unique}
    try:
        return known[cast("str", to_field)]
    except (KeyError, TypeError):
        raise _invalid(
            f"{parent._meta.label} has no unique field {to_field!r} for to_field;"
            f" known: {_listed(known)}"
        ) from None


def _require_type(field: Field, target: Field) -> None:
    """Refuse a column that can hold no key of the parent's."""
    kind = origin(target)
    wanted: tuple[type[Field], ...] = (type(kind),)
    if isinstance(kind, TEXT):
        wanted = TEXT
    elif isinstance(kind, models.IntegerField):
        wanted = (models.IntegerField, *TEXT)
    elif isinstance(kind, models.UUIDField):
        wanted = (models.UUIDField, *TEXT)
    names = " or ".join(each.__name__ for each in wanted)
    if not isinstance(field, wanted):
        raise _invalid(
            f"no row of {_label(field)} ({type(field).__name__}) could hold a key of"
            f" {_label(target)} ({type(kind).__name__}): declare a column of {names}"
        )
    longest = field.max_length if isinstance(field, TEXT) else None
    if isinstance(kind, models.UUIDField) and longest is not None and longest < UUID_CHARS:
        raise _invalid(
            f"{_label(field)} has max_length={longest}, and the text of a UUID {UUID_CHARS}"
            " characters, with hyphens: no row could hold it. Make it a UUIDField"
        )


def origin(target: Field) -> Field:
    """The field whose type a key has: that of a multi-table child's key is its parent's."""
    while isinstance(target, models.ForeignKey):
        target = target.target_field
    return target


def _on_delete(given: declared.Relation, field: Field) -> Callable[..., None]:
    name, label = given.on_delete, _label(field)
    if name == "SET":
        if given.value is None:
            raise _invalid(f'{label}: on_delete="SET" needs a value; for none, use "SET_NULL"')
        return models.SET(given.value)
    if given.value is not None:
        raise _invalid(f'{label}: a value goes with on_delete="SET", and not with {name!r}')
    if not isinstance(name, str) or name not in POLICIES:
        raise _invalid(f"{label}: on_delete is {name!r}; known: {_listed([*POLICIES, 'SET'])}")
    if name == "SET_NULL" and not field.null:
        raise _invalid(f'{label}: on_delete="SET_NULL" needs a column with null=True')
    if name == "SET_DEFAULT" and not field.has_default():
        raise _invalid(f'{label}: on_delete="SET_DEFAULT" needs a column with a default')
    return POLICIES[name]


def _label(field: Field) -> str:
    return f"{field.model._meta.label}.{field.name}"


def _listed(names: Iterable[str | None]) -> str:
    return ", ".join(str(each) for each in names) or "none"


def _invalid(text: str) -> InvalidSetting:
    return InvalidSetting(f"INTEGRITY['relations']: {text}")
