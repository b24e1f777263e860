"""What the project's routers say: where models live, and what they allow.

A router that raises is named, with the method and the model, wherever it was asked. No queries,
and no instance is made: `hint` is a row without values, for which no default of a field runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, models, router
from django.db.models.base import ModelState

from ..exceptions import RouterFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

Model: TypeAlias = type[models.Model]


def databases_for(model: Model) -> tuple[str, ...]:
    """Return the aliases of the databases in which the model's rows live.

    A router may declare several (shards) by a method `databases_for(model)`; else the model has
    one home, `router.db_for_write(model)`. Raises `RouterFailed`.
    """
    for aliases in _answers("databases_for", model):
        if several := tuple(aliases or ()):
            return several
    return (answer("db_for_write", model) or DEFAULT_DB_ALIAS,)


def write_database(model: Model, row: models.Model | None = None) -> str:
    """Return the alias that Django writes the model's rows to, or deletes this one from.

    A router of several databases may decide by the row. Raises what the routers raise.
    """
    return router.db_for_write(model, **({} if row is None else {"instance": row}))


def answer(method: str, model: Model, **hints: Any) -> str | None:
    """Return what the routers say themselves, without what Django falls back to.

    Raises `RouterFailed`.
    """
    return next((alias for alias in _answers(method, model, **hints) if alias), None)


def answer_beside(method: str, model: Model, row: models.Model) -> str | None:
    """Return what the routers say of a model beside a row of another; None where they cannot.

    The row has no values, and a router may need some.
    """
    try:
        return answer(method, model, instance=row)
    except RouterFailed:
        return None


def allows_relation(one: models.Model, other: models.Model) -> bool:
    """Whether the routers let two rows be related. True where they need values of a row to say."""
    try:
        return bool(router.allow_relation(one, other))
    except Exception:  # noqa: BLE001 (a project's own method may fail in any way)
        return True


def allows_migrate(database: str, model: Model) -> bool:
    """Whether the routers let the model have a table there. Raises `RouterFailed`."""
    meta = model._meta
    hints = {"model_name": meta.model_name, "model": model}
    for each in router.routers:
        if hasattr(each, "allow_migrate"):
            said = _asked(each, "allow_migrate", model, database, meta.app_label, **hints)
            if said is not None:
                return bool(said)
    return True


def hint(model: Model, database: str) -> models.Model:
    """Return a row of that database for routers to look at, with no value in any field.

    Not by `model()`: that would run the fields' defaults, which may ask a database.
    """
    row: models.Model = object.__new__(model)
    row.__dict__.update({field.attname: None for field in model._meta.concrete_fields})
    row._state = ModelState()  # noqa: SLF001 (as Django does)
    row._state.db, row._state.adding = database, False  # noqa: SLF001 (as above)
    return row


def _answers(method: str, model: Model, **hints: Any) -> Iterator[Any]:
    for each in router.routers:
        if hasattr(each, method):
            yield _asked(each, method, model, model, **hints)


def _asked(asked: Any, method: str, of: Model, /, *args: Any, **hints: Any) -> Any:
    try:
        return getattr(asked, method)(*args, **hints)
    except ImproperlyConfigured:
        raise  # it says what is wrong
    except Exception as error:
        raise RouterFailed(asked, method, of._meta.label, error) from error
