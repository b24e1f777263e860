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

#: Where Django's policies are imported from.
MODULES = ("django.db.models", "django.db.models.deletion")
#: What `models.SET(…)` returns runs one of these, for a value and for a function.
SET_CODES = frozenset(made.__code__ for made in (models.SET(None), models.SET(dict)))
#: Wrappers around wrappers are followed so far.
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
    CUSTOM = "CUSTOM"

    @classmethod
    def of(cls, on_delete: OnDelete) -> Policy:
        """Return the policy of a callable; `CUSTOM` for a project's own."""
        return _equal(on_delete) or _wrapped(on_delete) or cls.CUSTOM

    @functools.cached_property
    def protects(self) -> bool:
        """Whether the policy answers inside the parent's delete, not after it."""
        return self in {Policy.PROTECT, Policy.RESTRICT}

    @functools.cached_property
    def cascades(self) -> bool:
        """Whether the policy leaves work in the child's database after the parent's delete."""
        return not (self.protects or self is Policy.DO_NOTHING)

    @functools.cached_property
    def sets(self) -> bool:
        """Whether the policy keeps the rows, and changes their key."""
        return self in {Policy.SET_NULL, Policy.SET_DEFAULT, Policy.SET, Policy.CUSTOM}


def declared_on_delete(field: ForeignKey) -> OnDelete:
    """Return what the field's author wrote, also after the field was adopted."""
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
    """Whether the field's `on_delete` equals one of Django's, so that it does nothing else."""
    return _equal(declared_on_delete(field)) is not None


def _equal(on_delete: OnDelete) -> Policy | None:
    """Return the policy that it equals; None where it equals none of them, or more than one."""
    if getattr(on_delete, "__code__", None) in SET_CODES:  # a wrapper has the path of SET(), too
        return Policy.SET
    found = [each for each in Policy if _same(on_delete, getattr(models, each, None))]
    return found[0] if len(found) == 1 else None


def _same(on_delete: OnDelete, policy: object) -> bool:
    try:
        return policy is not None and bool(on_delete == policy)
    except Exception:  # noqa: BLE001 (a project's own `__eq__` may fail in any way)
        return False


def _wrapped(on_delete: OnDelete) -> Policy | None:
    """Return the policy that a wrapper's own marks lead to."""
    for _ in range(DEPTH):
        if found := _equal(on_delete) or _named(on_delete):
            return found
        inner = _inner(on_delete)
        if inner is None:
            return None
        on_delete = inner
    return None


def _inner(on_delete: Any) -> OnDelete | None:
    """Return what a callable says that it wraps."""
    if isinstance(on_delete, functools.partial):
        bound = on_delete.args or on_delete.keywords
        return None if bound else on_delete.func
    marks = ["__wrapped__", "declared"]
    if type(on_delete).__name__ == "PolymorphicGuard":  # django-polymorphic's
        marks.append("action")
    found = (getattr(on_delete, mark, None) for mark in marks)
    return next((each for each in found if callable(each)), None)


def _named(on_delete: OnDelete) -> Policy | None:
    """Return the policy as which a migration would write the callable."""
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
    return ".".join(str(each) for each in names if each)


def _deconstructed(field: ForeignKey) -> OnDelete | None:
    try:
        found = field.deconstruct()[3].get("on_delete")
    except Exception:  # noqa: BLE001 (a project's own field may fail in any way)
        return None
    found = getattr(found, "declared", found)
    return found if callable(found) else None
