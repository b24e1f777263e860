"""Answers of the project's routers: in which databases models live, and what is allowed.

If a router raises, `RouterFailed` names it with the method and the model. No queries. `hint` makes
a row without values and without running the defaults of fields.
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

    A router may return several (shards) from a method `databases_for(model)`. Otherwise the model
    has one home, `router.db_for_write(model)`. Raises `RouterFailed`.
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
    """Return the routers' own answer, without Django's fallback to the instance or "default".

    Raises `RouterFailed`.
    """
    return next((alias for alias in _answers(method, model, **hints) if alias), None)


def answer_beside(method: str, model: Model, row: models.Model) -> str | None:
    """Return the routers' answer for a model, with a row of another model as the hint.

    None if they have no answer, or fail because the row has no values.
    """
    try:
        return answer(method, model, instance=row)
    except RouterFailed:
        return None


def allows_relation(one: models.Model, other: models.Model) -> bool:
    """Return whether the routers allow the relation. True if they fail: the rows have no values."""
    try:
        return bool(router.allow_relation(one, other))
    except Exception:  # noqa: BLE001 (a project's own method may fail in any way)
        return True


def allows_migrate(database: str, model: Model) -> bool:
    """Return whether the routers allow a table of the model there. Raises `RouterFailed`."""
    meta = model._meta
    hints = {"model_name": meta.model_name, "model": model}
    for candidate in router.routers:
        if hasattr(candidate, "allow_migrate"):
            allowed = _call(candidate, "allow_migrate", model, database, meta.app_label, **hints)
            if allowed is not None:
                return bool(allowed)
    return True


def hint(model: Model, database: str) -> models.Model:
    """Return a row of that database as a hint for routers, with None in every field.

    `model()` would run the fields' defaults, which may query a database.
    """
    row: models.Model = object.__new__(model)
    row.__dict__.update({field.attname: None for field in model._meta.concrete_fields})
    row._state = ModelState()  # noqa: SLF001 (as Django does)
    row._state.db, row._state.adding = database, False  # noqa: SLF001 (as above)
    return row


def _answers(method: str, model: Model, **hints: Any) -> Iterator[Any]:
    for candidate in router.routers:
        if hasattr(candidate, method):
            yield _call(candidate, method, model, model, **hints)


def _call(router: Any, method: str, of: Model, /, *args: Any, **hints: Any) -> Any:
    try:
        return getattr(router, method)(*args, **hints)
    except ImproperlyConfigured:
        raise  # its message already names the problem
    except Exception as error:
        raise RouterFailed(router, method, of._meta.label, error) from error
