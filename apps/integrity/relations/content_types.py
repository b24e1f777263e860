"""Keys to content types: whose ids their rows hold.

Takes models, declared columns and the routers; gives the keys that are no relations. No queries.

Note [Whose ids]: each database numbers its content types by itself, and rows hold the ids of one of
them. Which one the routers do not say: a GenericForeignKey stores an id of the database that the
object was read from, and another row of it may hold one of another database. So the key of a
GenericForeignKey is followed only where its author has named that database (`content_types`), and
any key to a content type only where the child's database has no content types of its own. Deleting
a content type elsewhere leaves the rows alone; in their own database Django's rules hold.
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
    """A key to content types of which nobody can tell in which database they are.

    `pointers` are the GenericForeignKeys that it belongs to, as labels; `declared` says whether one
    of them is, in the settings.
    """

    field: ForeignKey
    child_databases: tuple[str, ...]
    pointers: tuple[str, ...] = ()
    declared: bool = False

    @property
    def label(self) -> str:
        """The key's name, as in "blog.Tag.content_type"."""
        return f"{self.field.model._meta.label}.{self.field.name}"


class ContentTypeKeys:
    """What is known of keys to content types."""

    def __init__(self, models: Iterable[Model], columns: Iterable[Column]) -> None:
        self.pointers = _pointers(models)
        self.named: dict[ForeignKey, set[str]] = defaultdict(set)
        for column in columns:
            if column.generic is not None:
                self.named[column.generic.column].add(column.generic.content_types)

    def unknown(
        self, field: ForeignKey, parents: Sequence[str], children: tuple[str, ...]
    ) -> UnknownHome | None:
        """Return the key, if it is one to content types of an unknown database."""
        if not _is_content_type(field.remote_field.model):
            return None
        pointers, named = self.pointers.get(field, ()), self.named.get(field, set())
        said = not pointers or (bool(named) and named <= set(parents))
        if said and not any(_has_content_types(each, field) for each in children):
            return None
        return UnknownHome(
            field=field, child_databases=children, pointers=tuple(pointers), declared=bool(named)
        )


def _is_content_type(model: Model) -> bool:
    family = (model._meta.concrete_model or model, *model._meta.get_parent_list())
    return any(each._meta.label == "contenttypes.ContentType" for each in family)


def _has_content_types(database: str, field: ForeignKey) -> bool:
    model = field.remote_field.model
    return allows_migrate(database, model._meta.concrete_model or model)


def _pointers(models: Iterable[Model]) -> Mapping[ForeignKey, Sequence[str]]:
    """Key → the GenericForeignKeys whose content type it is.

    By their `ct_field`, not by their class. The key may be a parent table's.
    """
    found: dict[ForeignKey, list[str]] = defaultdict(list)
    for model in models:
        for pointer in (*model._meta.private_fields, *model._meta.local_fields):
            name = getattr(pointer, "ct_field", None)
            try:
                key: Any = model._meta.get_field(name) if isinstance(name, str) else None
            except FieldDoesNotExist:
                continue  # Django's checks say so (contenttypes.E001)
            if key is not None:
                found[key].append(f"{model._meta.label}.{pointer.name}")
    return found
