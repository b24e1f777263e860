"""Which files rows name now: such a file stays, whoever else named it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db.models import FileField, QuerySet, Value

from ...backends import visibility
from ...backends.connections import reach
from ...relations import stored
from ...relations.homes import databases_for
from .places import place_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from django.db.models import Model

#: A file: its root and its path below it.
File = tuple[Any, str]


def file_fields(model: type[Model]) -> list[FileField]:
    """Return the model's file fields, those of multi-table parents included."""
    return [field for field in model._meta.concrete_fields if isinstance(field, FileField)]


def named_by_rows(files: Iterable[File]) -> set[File]:
    """Return those of `files` that a row of any model names, or a field's default.

    Reads each database on its primary. Raises its errors, and `FilteredRead` where a server may
    hide rows: then nothing is known of any file.
    """
    wanted, named = {*files}, set[File]()
    by_root: dict[Any, list[str]] = defaultdict(list)
    for root, path in wanted:
        by_root[root].append(path)
    for field in _all_fields():
        place = place_of(field.storage)
        names = [name for path in by_root.get(place.root, ()) if (name := place.name_of(path))]
        if names:
            held = {*defaults_of(field)}.union(
                *(_held(field, names, a) for a in databases_for(field.model))
            )
            named |= {(place.root, place.path_of(name)) for name in held}
    return named & wanted


def _all_fields() -> Iterator[FileField]:
    """Yield each file field of the project, once."""
    for model in apps.get_models(include_auto_created=True):
        if not model._meta.proxy:
            yield from (each for each in model._meta.local_fields if isinstance(each, FileField))


def _held(field: FileField, names: Sequence[str], alias: str) -> set[str]:
    """Return those names that rows hold there."""
    reach(alias)
    with visibility.whole(alias, field.model):
        rows: QuerySet[Any] = QuerySet(model=field.model, using=alias)
        rows = rows.filter(stored.referring(field, names, alias)).order_by().distinct()
        return {str(name) for name in rows.values_list(field.attname, flat=True)}


def defaults_of(field: FileField) -> Iterator[str]:
    """Yield the names that rows have which name no file of their own. Many rows share them."""
    if field.has_default():
        yield str(field.get_default() or "")
    given = getattr(field, "db_default", None)
    if isinstance(given, str | Value):
        yield str(given.value if isinstance(given, Value) else given)
