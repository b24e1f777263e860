"""Free keys of their constraint: `db_constraint=False`, without a word of it in migrations.

Note [Where a constraint comes from]: a migration makes a table from a historical model, which it
renders from the field that the app's author wrote. Django sends `class_prepared` for each rendered
model. There the copy of the field is changed, so that the migration, whatever it does, leaves the
constraint out, and finds none to remove. The state that migrations are compared in is not changed.
Today's field deconstructs to what its author wrote, so the two are equal, and `makemigrations`
finds no change.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from django.apps import apps

from ... import conf
from ...relations import historical

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...relations import Catalogue, Model
    from ...relations.relation import ForeignKey

#: The keys of today's models that were freed.
freed: list[ForeignKey] = []


def follow(_catalogue: Catalogue) -> None:
    """Free the keys that the settings ask for now, and no others."""
    while freed:
        _bind(freed.pop())
    labels = {*conf.current().unconstrained}
    for model in apps.get_models(include_auto_created=True) if labels else ():
        if model._meta.app_label in labels and not model._meta.proxy:
            for field in historical.crossing_keys(model):
                _free(field)


def free_historical(sender: Model, **_: Any) -> None:
    """`class_prepared`: free the keys of a historical model."""
    if historical.is_historical(sender) and sender._meta.app_label in conf.current().unconstrained:
        for field in historical.crossing_keys(sender):
            _set(field, constraint=False)


def _free(field: ForeignKey) -> None:
    if field.db_constraint:  # type: ignore[attr-defined]  # not in the stubs
        _set(field, constraint=False)
        field.__dict__["deconstruct"] = functools.partial(_as_written, field)
        freed.append(field)


def _bind(field: ForeignKey) -> None:
    """Undo `_free`."""
    _set(field, constraint=True)
    field.__dict__.pop("deconstruct", None)


def _set(field: Any, *, constraint: bool) -> None:
    field.db_constraint = constraint


def _as_written(field: ForeignKey) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
    """Return what the field deconstructs to, without what `_free` added."""
    name, path, args, kwargs = type(field).deconstruct(field)
    return name, path, args, {key: kwargs[key] for key in kwargs if key != "db_constraint"}
