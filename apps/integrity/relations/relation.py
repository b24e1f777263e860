"""`Relation`: a foreign key whose parent and child live in different databases."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from django.db import models

from .columns import Column, columns_of
from .policies import Policy, declared_on_delete, is_builtin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


Model: TypeAlias = type[models.Model]
ForeignKey: TypeAlias = "models.ForeignKey[Any, Any]"
Field: TypeAlias = "models.Field[Any, Any]"


def label(field: Field) -> str:
    """Return a field's label, such as "blog.Post.author"; see `Relation.label`."""
    if isinstance(field, Column):
        return field.label
    return f"{field.model._meta.label}.{field.name}"


@dataclass(frozen=True, kw_only=True)
class Relation:
    """A cross-database foreign key, or a declared column that acts as one."""

    field: ForeignKey
    policy: Policy
    parent_databases: tuple[str, ...]
    child_databases: tuple[str, ...]
    #: Why the settings ignore it, or "".
    ignored: str = ""

    @functools.cached_property
    def label(self) -> str:
        """The relation's name, such as "blog.Post.author".

        For a GenericForeignKey it includes the parent: "notes.Note.content_object@auth.User".
        """
        return label(self.field)

    @functools.cached_property
    def child(self) -> Model:
        """The model that holds the key."""
        return self.field.model

    @functools.cached_property
    def parent(self) -> Model:
        """The concrete model that the key points to, also if it points to a proxy."""
        return concrete(self.field.remote_field.model)

    @functools.cached_property
    def target(self) -> Field:
        """The parent's field that the key holds: its primary key, or its `to_field`."""
        target: Field = self.field.target_field
        return target

    @functools.cached_property
    def derived(self) -> dict[str, Any]:
        """A cache for what other modules compute from it once per catalogue."""
        return {}

    @property
    def on_delete(self) -> Callable[..., None]:
        """The declared `on_delete`."""
        return declared_on_delete(self.field)

    @property
    def has_builtin_policy(self) -> bool:
        """Whether the `on_delete` is one of Django's own, so that it does nothing else."""
        return is_builtin(self.field)

    @property
    def indexed(self) -> bool:
        """Whether an index of the child's table begins with the key.

        For a GenericForeignKey, it has to begin with its two columns, in either order.
        """
        wanted = {column.name for column in columns_of(self.field)}
        return any(
            {name.lstrip("-") for name in names[: len(wanted)]} == wanted
            for names in _indexed(self.field)
        )


def _indexed(field: ForeignKey) -> Iterator[Sequence[str]]:
    """Yield the columns of each index that can find a key's rows: ordered, and not partial."""
    meta = field.model._meta
    if getattr(field, "db_index", False) or field.unique:
        yield [field.name]
    ordered = [index for index in meta.indexes if index.suffix in {"idx", "btree"}]
    groups = [index.fields for index in ordered if index.condition is None]
    groups += [list(names) for names in meta.unique_together]
    groups += [
        list(constraint.fields)
        for constraint in meta.constraints
        if isinstance(constraint, models.UniqueConstraint) and constraint.condition is None
    ]
    yield from groups


def concrete(model: Model) -> Model:
    """Return the model itself, or the concrete model of a proxy."""
    concrete_model = model._meta.concrete_model
    assert concrete_model is not None, f"{model._meta.label} is abstract"
    return concrete_model


@functools.lru_cache(maxsize=1_024)
def primary_key(model: Model) -> Field:
    """Return the model's primary key."""
    pk = model._meta.pk
    assert pk is not None, f"{model._meta.label} is abstract"
    return pk


def pk_fields(model: Model) -> tuple[Field, ...]:
    """Return the columns of the model's primary key: several if it is composite."""
    return tuple(concrete(model)._meta.pk_fields)
