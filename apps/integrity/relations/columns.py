"""Declared relations as fields that can be used like a ForeignKey. No queries.

Each entry of `INTEGRITY["relations"]` becomes a copy of the model's column that knows its parent.
For the `object_id` of a GenericForeignKey, it also knows which rows refer to that parent. The
models and their migrations do not change.

Note [Canonical text]: a text column may hold keys of another type. Only the text that Django itself
would write is a key, such as `7`, or a UUID in lower case with hyphens. `007`, ` 7` or `anonymous`
are no keys: such rows are never changed, and do not count as orphans.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from django.db import connections, models

from .. import conf, declared
from . import resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.backends.base.base import BaseDatabaseWrapper

    PlainField = models.Field[Any, Any]
else:
    PlainField = models.Field

Model: TypeAlias = type[models.Model]
Field: TypeAlias = "models.Field[Any, Any]"

TEXT = (models.CharField, models.TextField)
#: The length of a UUID's canonical text.
UUID_CHARS = 36

POLICIES: dict[str, Callable[..., None]] = {
    "CASCADE": models.CASCADE,
    "PROTECT": models.PROTECT,
    "RESTRICT": models.RESTRICT,
    "SET_NULL": models.SET_NULL,
    "SET_DEFAULT": models.SET_DEFAULT,
    "DO_NOTHING": models.DO_NOTHING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Generic:
    """The rows of a GenericForeignKey that refer to one parent: those with `id` in `column`.

    `id` is that of `model`'s content type in the database `content_types`. It is None until it has
    been queried (generic.py).
    """

    name: str
    column: models.ForeignKey[Any, Any]
    model: Model
    content_types: str
    id: int | None = None


class Column(PlainField):
    """A copy of a model's field, with the attributes of a ForeignKey that this app uses.

    `writes_text` is whether its rows store keys of another type as text: see Note [Canonical text].
    Integers are compared as the widest type, because the two tables may use different ones.
    """

    db_constraint = False
    target_field: Field
    writes_text: bool
    #: The relation's name.
    label: str
    generic: Generic | None = None

    @property
    def foreign_related_fields(self) -> tuple[Field, ...]:
        """The parent's fields that the Collector has to load."""
        return (self.target_field,)

    def rel_db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        """Return the type in which keys are compared."""
        if isinstance(self, models.IntegerField):
            return models.BigIntegerField().db_type(connection)
        return super().rel_db_type(connection)

    def get_db_prep_value(
        self,
        value: Any,
        connection: BaseDatabaseWrapper,
        prepared: bool = False,  # noqa: FBT001, FBT002 (Django's signature)
    ) -> Any:
        """Return a value of that type."""
        if isinstance(self, models.IntegerField):
            value = value if prepared else self.get_prep_value(value)
            return models.BigIntegerField().get_db_prep_value(value, connection, prepared=True)
        return super().get_db_prep_value(value, connection, prepared)


_classes: dict[type[Field], type[Column]] = {}


def columns() -> list[Column]:
    """Return the columns of `INTEGRITY["relations"]`.

    Raises `InvalidSetting` for an entry that is impossible. It names the value and the remedy.
    """
    by_label: dict[str, Column] = {}
    for declaration in conf.current().relations:
        column = _column(declaration)
        if column.label in by_label:
            only = "" if column.generic else "; a column has one parent"
            raise resolve.invalid(f"{column.label} is declared twice{only}")
        by_label[column.label] = column
    return list(by_label.values())


def generic_of(field: Field) -> Generic | None:
    """Return the `Generic` of a field that belongs to a declared GenericForeignKey, or None."""
    return field.generic if isinstance(field, Column) else None


def columns_of(field: Field) -> tuple[Field, ...]:
    """Return the columns by which a row refers through `field`: two for a GenericForeignKey."""
    generic = generic_of(field)
    return (field,) if generic is None else (generic.column, field)


def _column(given: declared.Relation) -> Column:
    named, parent = resolve.field_of(given.field), resolve.parent_of(given.parent)
    generic = _generic(named, parent, given) if resolve.is_generic_foreign_key(named) else None
    field = named if generic is None else resolve.own_column(named.model, named.fk_field)
    if generic is None and given.content_types:
        raise resolve.invalid(f"{given.field}: content_types is for a GenericForeignKey only")
    target = resolve.target_of(parent, given.to_field)
    _require_type(field, target)
    column = copy.copy(field)
    column.__class__ = _class_of(type(field))
    assert isinstance(column, Column)
    column.target_field, column.generic, column.label = target, generic, resolve.label_of(field)
    if generic is not None:
        column.label = f"{resolve.label_of(named)}@{generic.model._meta.label}"
    column.writes_text = isinstance(field, TEXT) and not isinstance(underlying_field(target), TEXT)
    column.remote_field = models.ManyToOneRel(
        cast("models.ForeignKey[Any, Any]", column),
        parent,
        target.name,
        related_name="+",
        on_delete=_on_delete(given, columns_of(column)),
    )
    return column


def _class_of(kind: type[Field]) -> type[Column]:
    """Return a subclass with the same name, because messages show it."""
    if kind not in _classes:
        _classes[kind] = cast("type[Column]", type(kind.__name__, (Column, kind), {}))
    return _classes[kind]


def _generic(named: Any, parent: Model, given: declared.Relation) -> Generic:
    """Use the content type of a proxy's concrete model, unless the GenericForeignKey differs."""
    if given.content_types not in connections:
        raise resolve.invalid(
            f"{given.field} is a GenericForeignKey, and content_types is {given.content_types!r}:"
            " name the database whose content types its rows hold the ids of. Django writes those"
            f" of the parent's database; known: {resolve.listed(connections)}"
        )
    if given.to_field:
        raise resolve.invalid(
            f"{given.field}: a GenericForeignKey holds primary keys, so no to_field"
        )
    column: Any = resolve.own_column(named.model, named.ct_field)
    if not column.is_relation or column.related_model._meta.label != "contenttypes.ContentType":
        raise resolve.invalid(f"{resolve.label_of(column)} is no ForeignKey to ContentType")
    return Generic(
        name=named.name,
        column=column,
        model=(parent._meta.concrete_model or parent) if named.for_concrete_model else parent,
        content_types=given.content_types,
    )


def _require_type(field: Field, target: Field) -> None:
    """Raise `InvalidSetting` if the column cannot hold a key of the parent."""
    kind = underlying_field(target)
    wanted: tuple[type[Field], ...] = (type(kind),)
    if isinstance(kind, TEXT):
        wanted = TEXT
    elif isinstance(kind, models.IntegerField):
        wanted = (models.IntegerField, *TEXT)
    elif isinstance(kind, models.UUIDField):
        wanted = (models.UUIDField, *TEXT)
    names = " or ".join(field_class.__name__ for field_class in wanted)
    if not isinstance(field, wanted):
        raise resolve.invalid(
            f"no row of {resolve.label_of(field)} ({type(field).__name__}) could hold a key of"
            f" {resolve.label_of(target)} ({type(kind).__name__}): declare a column of {names}"
        )
    longest = field.max_length if isinstance(field, TEXT) else None
    if isinstance(kind, models.UUIDField) and longest is not None and longest < UUID_CHARS:
        raise resolve.invalid(
            f"{resolve.label_of(field)} has max_length={longest}, and the text of a UUID"
            f" {UUID_CHARS} characters, with hyphens: no row could hold it. Make it a UUIDField"
        )


def underlying_field(target: Field) -> Field:
    """Return the field that defines a key's type. For a multi-table child, it is its parent's."""
    while isinstance(target, models.ForeignKey):
        target = target.target_field
    return target


def _on_delete(given: declared.Relation, columns: tuple[Field, ...]) -> Callable[..., None]:
    name, label, field = given.on_delete, given.field, columns[-1]
    if len(columns) > 1 and name in ("SET", "SET_DEFAULT"):
        raise resolve.invalid(
            f"{label}: on_delete={name!r} would change the key and keep the content type;"
            ' a GenericForeignKey takes CASCADE, PROTECT, RESTRICT, "SET_NULL" or DO_NOTHING'
        )
    if name == "SET":
        if given.value is None:
            raise resolve.invalid(
                f'{label}: on_delete="SET" needs a value; for none, use "SET_NULL"'
            )
        return models.SET(given.value)
    if given.value is not None:
        raise resolve.invalid(f'{label}: a value goes with on_delete="SET", and not with {name!r}')
    if not isinstance(name, str) or name not in POLICIES:
        raise resolve.invalid(
            f"{label}: on_delete is {name!r}; known: {resolve.listed([*POLICIES, 'SET'])}"
        )
    for column in columns:
        if name == "SET_NULL" and not column.null:
            raise resolve.invalid(
                f'{label}: on_delete="SET_NULL" needs a column with null=True: {column.name}'
            )
    if name == "SET_DEFAULT" and not field.has_default():
        raise resolve.invalid(f'{label}: on_delete="SET_DEFAULT" needs a column with a default')
    return POLICIES[name]
