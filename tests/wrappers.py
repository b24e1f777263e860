"""What projects wrap an `on_delete` in, for tests of policies."""

from __future__ import annotations

import functools
from typing import Any

from django.db import models
from django.utils.deconstruct import deconstructible


def logged(policy: Any) -> Any:
    """A decorator as from a tutorial."""

    @functools.wraps(policy)
    def wrapper(collector: Any, field: Any, sub_objs: Any, using: str) -> None:
        logged.calls.append(field.name)  # type: ignore[attr-defined]
        policy(collector, field, sub_objs, using)

    return wrapper


logged.calls = []  # type: ignore[attr-defined]


def twice(policy: Any) -> Any:
    return logged(functools.partial(logged(policy)))


class PolymorphicGuard:
    """As that of django-polymorphic 4: equal to what it wraps, where that has a name."""

    def __init__(self, action: Any) -> None:
        self.action = action

    def __call__(self, collector: Any, field: Any, sub_objs: Any, using: str) -> None:
        if isinstance(sub_objs, models.QuerySet):
            sub_objs = sub_objs.all()
        self.action(collector, field, sub_objs, using)

    def __eq__(self, other: object) -> bool:
        return bool(self.action == getattr(other, "action", other))

    def __hash__(self) -> int:
        return hash(self.action)


class Deconstructed:
    """Written into migrations as what it wraps, and marked in no other way."""

    def __init__(self, action: Any) -> None:
        self.action = action

    def __call__(self, *args: Any) -> None:
        self.action(*args)

    def deconstruct(self) -> tuple[str, tuple[()], dict[str, Any]]:
        return f"django.db.models.{self.action.__name__}", (), {}


TRANSPARENT = (logged, functools.partial, twice, PolymorphicGuard, Deconstructed)


# What no one can tell, or what is not what it says


def unmarked(collector: Any, field: Any, sub_objs: Any, using: str) -> None:
    models.CASCADE(collector, field, sub_objs, using)


@functools.wraps(models.CASCADE)
def all_but_some(collector: Any, field: Any, sub_objs: Any, using: str) -> None:
    models.CASCADE(collector, field, sub_objs.exclude(pk=0), using)


@functools.wraps(models.CASCADE)
def other_rows(collector: Any, field: Any, sub_objs: Any, using: str) -> None:
    models.CASCADE(collector, field, field.model._base_manager.filter(pk__gt=0), using)


@functools.wraps(models.CASCADE)
def unless_there_are_many(collector: Any, field: Any, sub_objs: Any, using: str) -> None:
    if len(sub_objs) < 100:
        models.CASCADE(collector, field, sub_objs, using)


@functools.wraps(models.CASCADE)
def keeping(collector: Any, field: Any, sub_objs: Any, using: str) -> None:
    """Says CASCADE and does nothing."""


@deconstructible
class SoftCascade:
    def __call__(self, collector: Any, field: Any, sub_objs: Any, using: str) -> None:
        sub_objs.update(hidden=True)


def value_by_query(collector: Any, field: Any, sub_objs: Any, using: str) -> None:
    value = field.related_model._base_manager.values_list("pk", flat=True).first()
    collector.add_field_update(field, value, sub_objs)


class EqualToAll:
    """As mocks are."""

    def __call__(self, collector: Any, field: Any, sub_objs: Any, using: str) -> None:
        """Do nothing."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


UNKNOWN = (
    unmarked,
    all_but_some,
    other_rows,
    unless_there_are_many,
    keeping,
    SoftCascade(),
    value_by_query,
    EqualToAll(),
    functools.partial(unmarked, using="default"),
)
