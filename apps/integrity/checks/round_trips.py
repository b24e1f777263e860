"""Keys that the deletion log cannot store as text and read back unchanged.

Tries sample values on the fields alone: no query, and no instance of a model.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db import connections

from .. import conf, relations
from ..relations import keys, stored
from ..relations.columns import underlying_field
from ..relations.relation import label, primary_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..relations import Field, Relation

#: Keys as a database may hold them. Those that a field does not accept are skipped.
NUMBERS = (1, 2, 42, 1_000_003)
TEXTS = ("1", "42", "7f", "abc", "A-1")
UUIDS = tuple(uuid.uuid5(uuid.NAMESPACE_OID, text) for text in TEXTS)
SAMPLES: tuple[Any, ...] = (*NUMBERS, *TEXTS, *UUIDS, *(key.hex for key in UUIDS))


def returning(**_: Any) -> list[checks.CheckMessage]:
    """E020: a field whose keys the log would read back as other keys."""
    errors: dict[Field, checks.CheckMessage] = {}
    for relation in relations.catalogue().relations:
        for field, alias in _fields(relation):
            triggers = conf.current().by_trigger(relation.parent._meta.label)
            if field not in errors and (message := _problem(field, alias, triggers=triggers)):
                errors[field] = message
    return list(errors.values())


def _fields(relation: Relation) -> Iterator[tuple[Field, str]]:
    """Yield the fields of the relation's keys, each with an alias that holds its values."""
    home = relation.parent_databases[0]
    yield underlying_field(primary_key(relation.parent)), home
    yield underlying_field(relation.target), home
    yield underlying_field(relation.field), relation.child_databases[0]


def _problem(field: Field, alias: str, *, triggers: bool) -> checks.CheckMessage | None:
    if stored.converts_as_django(field):
        return None
    for held, value in _loaded(field, alias):
        text = _text(field, value)
        if (read := _read(field, text, alias)) != held:
            return _error(
                field, f"the key {held!r} is logged as {text!r}, and read back as {read!r}",
                hint="Let value_to_string() return what to_python() takes for the same key, and"
                " get_prep_value() return what the column holds.",
            )  # fmt: skip
        if triggers and (read := _read(field, str(held), alias)) != held:
            return _error(
                field,
                f"a trigger logs the key {held!r} as the column holds it, and to_python() and"
                f" get_prep_value() turn that into {read!r}",
                hint=f'INTEGRITY = {{"capture": {{{field.model._meta.label!r}: "signal"}}}}',
            )
    return None


def _error(field: Field, text: str, *, hint: str) -> checks.CheckMessage:
    name = label(field)
    return checks.Error(
        f"{name} ({type(field).__name__}): {text}. Cascades would affect the rows of other keys.",
        hint=hint,
        obj=field,
        id="integrity.E020",
    )


def _loaded(field: Field, alias: str) -> Iterator[tuple[Any, Any]]:
    """Yield values that the column may hold, each with what the field makes of it.

    Where no sample fits the column, yield what the field itself makes of the samples.
    """
    fits = False
    for held in SAMPLES:
        for value in _load(field, held, alias):
            if _prepared(field, value, alias) == held and _of_type(field, held, alias):
                fits = True
                yield held, value
    for seed in () if fits else SAMPLES:
        held = _read(field, str(seed), alias)
        for value in _load(field, held, alias) if held is not None else ():
            yield held, value


def _of_type(field: Field, held: Any, alias: str) -> bool:
    """Return whether the column's type accepts such a value."""
    kind = (field.rel_db_type(connections[alias]) or "").lower()
    wanted: Sequence[str] = ("char", "text", "citext")
    if isinstance(held, int):
        wanted = ("int", "numeric", "serial")
    elif isinstance(held, uuid.UUID):
        wanted = ("uuid",)
    return any(name in kind for name in wanted)


def _load(field: Field, held: Any, alias: str) -> list[Any]:
    """Return the value that the ORM converts `held` to; an empty list where it cannot."""
    connection, value = connections[alias], held
    column = field.get_col(field.model._meta.db_table)
    try:
        converters: Iterable[Any] = (
            *connection.ops.get_db_converters(column),
            *column.get_db_converters(connection),
        )
        for convert in converters:
            value = convert(value, column, connection)
    except Exception:  # noqa: BLE001 (a project's code, given a value that it may not expect)
        return []
    return [] if value is None else [value]


def _text(field: Field, value: Any) -> str | None:
    try:
        return keys.text_of(field, value)
    except Exception:  # noqa: BLE001 (as above)
        return None


def _read(field: Field, text: str | None, alias: str) -> Any:
    """Return the value that a lookup uses for a logged `text`; None where there is none."""
    try:
        return None if text is None else _prepared(field, field.to_python(text), alias)
    except Exception:  # noqa: BLE001 (as above)
        return None


def _prepared(field: Field, value: Any, alias: str) -> Any:
    try:
        return stored.prepare(field, value, alias)
    except Exception:  # noqa: BLE001 (as above)
        return None


CHECKS = (returning,)
