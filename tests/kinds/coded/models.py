"""A family for each field of fields.py: parents by key and by `to_field`, and their children."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import models

from . import fields

if TYPE_CHECKING:
    from collections.abc import Callable


def _made(name: str, at: str, **values: Any) -> Any:
    return type(name, (models.Model,), {**values, "home": at, "__module__": __name__})


def _refers(to: Any, on_delete: Any = models.CASCADE, **options: Any) -> Any:
    return models.ForeignKey(
        to, on_delete, db_constraint=False, related_name="+", null=True, **options
    )


@dataclass(frozen=True)
class Family:
    """Parents, and children elsewhere that hold the attribute `by` of theirs."""

    parent: Any
    child: Any
    #: Number → the parent's key, as the field has it in Python.
    key: Callable[[int], Any]
    by: str = "pk"
    #: Children whose key is set to NULL.
    kept: Any = None


def _text(kind: Any) -> Any:
    return lambda **options: kind(max_length=20, **options)


def _parent(label: str, home: str, field: Any) -> Any:
    columns = {"id": field(primary_key=True), "code": field(unique=True)}
    return _made(f"{label}Parent", home, **columns, n=models.IntegerField())


def _families(name: str, field: Any, key: Callable[[int], Any]) -> dict[str, Family]:
    parent = _parent(name, "default", field)
    child = _made(f"{name}Child", "test_left", parent=_refers(parent))
    kept = _made(f"{name}Kept", "test_left", parent=_refers(parent, models.SET_NULL))
    other = _made(f"{name}Other", "test_lite", parent=_refers(parent, to_field="code"))
    return {
        f"{name}, PostgreSQL": Family(parent, child, key, kept=kept),
        f"{name}, to_field and SQLite": Family(parent, other, key, "code"),
    }


def _on_sqlite(name: str, field: Any, key: Callable[[int], Any]) -> dict[str, Family]:
    parent = _parent(f"{name}Lite", "test_lite", field)
    child = _made(f"{name}LiteChild", "test_left", parent=_refers(parent))
    return {f"{name}, parents on SQLite": Family(parent, child, key)}


#: The field, and what it makes of a number.
FIELDS: dict[str, tuple[Any, Callable[[int], Any]]] = {
    "Object": (fields.ObjectField, fields.Code),
    "Masked": (fields.MaskedField, lambda n: n ^ fields.MASK),
    "Prefixed": (fields.PrefixedField, lambda n: f"usr_{n}"),
    "StoredPrefix": (_text(fields.StoredPrefixField), lambda n: n),
    "CharUUID": (fields.CharUUIDField, lambda n: uuid.UUID(int=n)),
    "Strict": (_text(fields.StrictField), lambda n: f"s-{n}"),
}
FAMILIES: dict[str, Family] = {
    label: family
    for name, how in FIELDS.items()
    for made in (_families, *([_on_sqlite] if name in {"Object", "CharUUID", "Strict"} else []))
    for label, family in made(name, *how).items()
}


@dataclass(frozen=True)
class Tree:
    """Children whose own keys are masked, what refers to them, and some for Django's Collector."""

    branch: Any
    leaf: Any
    circle: Any


def _tree(name: str, home: str) -> Tree:
    parent, key = FAMILIES["Masked, PostgreSQL"].parent, fields.MaskedField
    branch = _made(f"{name}Branch", home, id=key(primary_key=True), parent=_refers(parent))
    leaf = _made(f"{name}Leaf", home, branch=_refers(branch))
    above = {"above": _refers("self")}
    circle = _made(f"{name}Circle", home, id=key(primary_key=True), parent=_refers(parent), **above)
    return Tree(branch, leaf, circle)


TREES = {"PostgreSQL": _tree("Masked", "test_left"), "SQLite": _tree("MaskedLite", "test_lite")}
