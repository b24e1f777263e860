"""The three forms of a parent's key: in Python, as the log's text, and as child rows store it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from django.core.exceptions import ValidationError
from django.db import models

from ..exceptions import InvalidKey
from . import stored
from .columns import Column, underlying_field
from .homes import databases_for
from .relation import Field, ForeignKey, Relation, label

#: Fields whose text is as long as their values, which nothing bounds without `max_length`.
TEXTS = (models.CharField, models.TextField, models.BinaryField, models.JSONField)


def may_exceed(field: Field, chars: int) -> bool:
    """Return whether a key of that field may have more characters as text. Pure.

    Of a project's own kinds of fields, only what their `max_length` says is known.
    """
    kind = underlying_field(field)
    most: int | None = kind.max_length
    if isinstance(kind, models.DecimalField):
        most = kind.max_digits and kind.max_digits + len("-0.")
    if most is None:
        return isinstance(kind, (*TEXTS, models.DecimalField))
    if isinstance(kind, models.BinaryField):  # its text is Base64
        most = -(-most // 3) * 4
    return most > chars


def suspect_value(relation: Relation, field: str, text: str) -> Any:
    """Return the value that a suspect's rows refer to: the parent's key or its `to_field`.

    `field` is the parent's field that the suspect names, or "" for the key. None if a migration has
    changed the field, so that it cannot hold the value any more.
    """
    if field not in {"", relation.target.name}:
        return None
    try:
        return parse_key(relation.target, text)
    except InvalidKey:
        return None


def to_stored(field: ForeignKey, key: Any) -> Any:
    """Return the value that rows store in `field` to refer to the parent with that key."""
    return format_key(field.target_field, key) if writes_text(field) else key


def from_stored(field: ForeignKey, value: Any) -> Any:
    """Return the parent's key for the `value` that a row stores in `field`.

    None for a text that is no key: see Note [Canonical text] in columns.py.
    """
    if not writes_text(field):
        return value
    try:
        key = parse_key(field.target_field, value)
    except InvalidKey:
        return None
    fits = not isinstance(key, int) or -(2**63) <= key < 2**63
    return key if fits and format_key(field.target_field, key) == value else None


def writes_text(field: Field) -> bool:
    """Return whether rows store the keys in it as text, although they are of another type."""
    return isinstance(field, Column) and field.writes_text


def format_key(field: Field, value: Any) -> str:
    """Return a parent's key as text. `parse_key` is the inverse.

    Raises `InvalidKey`, naming the field, if `parse_key` would return another key. That can only
    happen with a project's own field class.
    """
    kind, text = underlying_field(field), text_of(field, value)
    if not (stored.converts_as_django(kind) or _is_read_back(kind, value, text)):
        raise InvalidKey(
            f"{label(field)}: its value_to_string() writes a key of which to_python() and"
            " get_prep_value() make another one, or none. See `manage.py check`"
        )
    return text


def text_of(field: Field, value: Any) -> str:
    """Return the field's own text form of a key, unchecked; see `format_key`."""
    kind = underlying_field(field)
    return kind.value_to_string(cast("models.Model", SimpleNamespace(**{kind.attname: value})))


def _is_read_back(field: Field, value: Any, text: str) -> bool:
    using = databases_for(field.model)[0]
    try:
        read = stored.prepare(field, parse_key(field, text), using)
    except InvalidKey:
        return False
    return bool(read == stored.prepare(field, value, using))


def parse_key(field: Field, text: str) -> Any:
    """Return a parent's key from its text form.

    Raises `InvalidKey`, naming the field, if the field cannot hold the key.
    """
    try:
        return field.to_python(text)
    except (ValidationError, ValueError, TypeError):
        # No cause: it would quote the text.
        raise InvalidKey(f"not a key that {label(field)} can hold") from None
