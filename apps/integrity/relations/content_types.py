"""Keys to content types, and which of them have no known parent database. No queries.

Note [Whose ids]: each database numbers its content types by itself, and the routers do not tell
which database's ids a row holds. A GenericForeignKey stores the id of the database from which its
object was read, and its next row may hold an id of another one. So the `ct_field` of a
GenericForeignKey is a relation only if its declaration names that database (`content_types`). Any
other key to a content type is a relation only if the child's database has no content types itself.
Rows of a key that is no relation stay when a content type is deleted in another database; inside
their own database, Django's rules apply.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from django.core.exceptions import FieldDoesNotExist
from django.db import models

from .homes import allows_migrate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .columns import Column

Model: TypeAlias = type[models.Model]
ForeignKey: TypeAlias = "models.ForeignKey[Any, Any]"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownHome:
    """A key to content types whose database is unknown.

    `pointers` are the labels of the GenericForeignKeys that it belongs to. `declared` is whether
    the settings declare one of them.
    """

    field: ForeignKey
    child_databases: tuple[str, ...]
    pointers: tuple[str, ...] = ()
    declared: bool = False

    @property
    def label(self) -> str:
        """The key's name, such as "blog.Tag.content_type"."""
        return f"{self.field.model._meta.label}.{self.field.name}"


class ContentTypeKeys:
    """The GenericForeignKeys of the project, and the databases that their declarations name."""

    def __init__(self, models: Iterable[Model], columns: Iterable[Column]) -> None:
        self.pointers = _pointers(models)
        self.named: dict[ForeignKey, set[str]] = defaultdict(set)
        for column in columns:
            if column.generic is not None:
                self.named[column.generic.column].add(column.generic.content_types)

    def unknown(
        self, field: ForeignKey, parents: Sequence[str], children: tuple[str, ...]
    ) -> UnknownHome | None:
        """Return the key if it refers to content types of an unknown database."""
        if not _is_content_type(field.remote_field.model):
            return None
        pointers, named = self.pointers.get(field, ()), self.named.get(field, set())
        is_known = not pointers or (bool(named) and named <= set(parents))
        if is_known and not any(_has_content_types(alias, field) for alias in children):
            return None
        return UnknownHome(
            field=field, child_databases=children, pointers=tuple(pointers), declared=bool(named)
        )


def _is_content_type(model: Model) -> bool:
    family = (model._meta.concrete_model or model, *model._meta.get_parent_list())
    return any(base._meta.label == "contenttypes.ContentType" for base in family)


def _has_content_types(database: str, field: ForeignKey) -> bool:
    model = field.remote_field.model
    return allows_migrate(database, model._meta.concrete_model or model)


def _pointers(models: Iterable[Model]) -> Mapping[ForeignKey, Sequence[str]]:
    """Return, by key, the GenericForeignKeys whose `ct_field` it is.

    They are recognised by that attribute and not by their class. The key may belong to a parent
    table.
    """
    pointers: dict[ForeignKey, list[str]] = defaultdict(list)
    for model in models:
        for pointer in (*model._meta.private_fields, *model._meta.local_fields):
            name = getattr(pointer, "ct_field", None)
            try:
                key: Any = model._meta.get_field(name) if isinstance(name, str) else None
            except FieldDoesNotExist:
                continue  # Django's checks report it (contenttypes.E001)
            if key is not None:
                pointers[key].append(f"{model._meta.label}.{pointer.name}")
    return pointers
