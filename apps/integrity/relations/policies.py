"""What an `on_delete` means: Django's policy, a wrapper of one, or a project's own function.

No code of the project runs, except `==`, `deconstruct()` and attributes of an `on_delete`.

Note [Recognised]: an `on_delete` is the policy that it equals (Django compares with `==`, too). If
it equals none, it is the policy that its wrappers lead to, or the one that its field deconstructs
to. Only equality is certain. A wrapper may do more than what it wraps, so it is run once on
stand-ins before the workers rely on it: see dry_run.py.
"""

from __future__ import annotations

import enum
import functools
from typing import TYPE_CHECKING, Any, TypeAlias

from django.db import models

if TYPE_CHECKING:
    from collections.abc import Callable

OnDelete: TypeAlias = "Callable[..., None]"
ForeignKey: TypeAlias = "models.ForeignKey[Any, Any]"

#: The modules from which Django's policies are imported.
MODULES = ("django.db.models", "django.db.models.deletion")
#: The code of what `models.SET(…)` returns, for a value and for a callable.
SET_CODES = frozenset(made.__code__ for made in (models.SET(None), models.SET(dict)))
#: Nested wrappers are followed to this depth.
DEPTH = 20


class Policy(enum.StrEnum):
    """A relation's `on_delete`, under Django's names."""

    CASCADE = "CASCADE"
    PROTECT = "PROTECT"
    RESTRICT = "RESTRICT"
    SET_NULL = "SET_NULL"
    SET_DEFAULT = "SET_DEFAULT"
    SET = "SET"
    DO_NOTHING = "DO_NOTHING"
    DB_CASCADE = "DB_CASCADE"
    DB_SET_NULL = "DB_SET_NULL"
    DB_SET_DEFAULT = "DB_SET_DEFAULT"
    CUSTOM = "CUSTOM"

    @classmethod
    def of(cls, on_delete: OnDelete) -> Policy:
        """Return the policy of a callable; `CUSTOM` for a project's own function."""
        return _equal(on_delete) or _wrapped(on_delete) or cls.CUSTOM

    @functools.cached_property
    def protects(self) -> bool:
        """Whether the policy may refuse the parent's delete."""
        return self in {Policy.PROTECT, Policy.RESTRICT}

    @functools.cached_property
    def cascades(self) -> bool:
        """Whether the policy changes or deletes rows of the child after the parent's delete."""
        return not (self.protects or self is Policy.DO_NOTHING)

    @functools.cached_property
    def by_database(self) -> bool:
        """Whether a constraint of the database carries it out (Django 6.1), not Django."""
        return self in {Policy.DB_CASCADE, Policy.DB_SET_NULL, Policy.DB_SET_DEFAULT}

    @functools.cached_property
    def deletes(self) -> bool:
        """Whether the rows go with the row that they refer to, whoever deletes them."""
        return self in {Policy.CASCADE, Policy.DB_CASCADE}

    @functools.cached_property
    def sets(self) -> bool:
        """Whether the policy keeps the rows and changes their key."""
        return self in {Policy.SET_NULL, Policy.SET_DEFAULT, Policy.SET, Policy.CUSTOM}


def declared_on_delete(field: ForeignKey) -> OnDelete:
    """Return the `on_delete` of the model's source code, also after the field was adopted."""
    on_delete: Any = field.remote_field.on_delete
    declared: OnDelete = getattr(on_delete, "declared", on_delete)
    return declared


def policy_of(field: ForeignKey) -> Policy:
    """Return the field's policy. See Note [Recognised]."""
    policy = Policy.of(declared_on_delete(field))
    if policy is Policy.CUSTOM and (deconstructed := _deconstructed(field)):
        return Policy.of(deconstructed)
    return policy


def is_builtin(field: ForeignKey) -> bool:
    """Return whether the `on_delete` equals one that Django carries out, so it does nothing else.

    Those that a database carries out are none of these: no other database knows of them.
    """
    policy = _equal(declared_on_delete(field))
    return policy is not None and not policy.by_database


def _equal(on_delete: OnDelete) -> Policy | None:
    """Return the policy that it equals; None if it equals none of them, or more than one."""
    if getattr(on_delete, "__code__", None) in SET_CODES:  # a wrapper has the path of SET(), too
        return Policy.SET
    equal = [policy for policy in Policy if _same(on_delete, getattr(models, policy, None))]
    return equal[0] if len(equal) == 1 else None


def _same(on_delete: OnDelete, policy: object) -> bool:
    try:
        return policy is not None and bool(on_delete == policy)
    except Exception:  # noqa: BLE001 (a project's own `__eq__` may fail in any way)
        return False


def _wrapped(on_delete: OnDelete) -> Policy | None:
    """Return the policy that a wrapper's attributes lead to."""
    for _ in range(DEPTH):
        if policy := _equal(on_delete) or _named(on_delete):
            return policy
        inner = _inner(on_delete)
        if inner is None:
            return None
        on_delete = inner
    return None


def _inner(on_delete: Any) -> OnDelete | None:
    """Return the callable that a wrapper says it wraps."""
    if isinstance(on_delete, functools.partial):
        bound = on_delete.args or on_delete.keywords
        return None if bound else on_delete.func
    marks = ["__wrapped__", "declared"]
    if type(on_delete).__name__ == "PolymorphicGuard":  # django-polymorphic's
        marks.append("action")
    wrapped = (getattr(on_delete, mark, None) for mark in marks)
    return next((inner for inner in wrapped if callable(inner)), None)


def _named(on_delete: OnDelete) -> Policy | None:
    """Return the policy that a migration would write for the callable."""
    module, _, name = _path(on_delete).rpartition(".")
    return Policy(name) if module in MODULES and name in {*Policy} - {Policy.CUSTOM} else None


def _path(on_delete: Any) -> str:
    deconstruct = getattr(on_delete, "deconstruct", None)
    try:
        if callable(deconstruct):
            return str(deconstruct()[0])
    except Exception:  # noqa: BLE001 (a project's own method may fail in any way)
        return ""
    names = getattr(on_delete, "__module__", None), getattr(on_delete, "__qualname__", None)
    return ".".join(str(name) for name in names if name)


def _deconstructed(field: ForeignKey) -> OnDelete | None:
    try:
        on_delete = field.deconstruct()[3].get("on_delete")
    except Exception:  # noqa: BLE001 (a project's own field may fail in any way)
        return None
    on_delete = getattr(on_delete, "declared", on_delete)
    return on_delete if callable(on_delete) else None
