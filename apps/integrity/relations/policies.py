"""What an `on_delete` means: Django's policy, a wrapper of one, or a project's own function.

Takes fields and callables. Recognising a policy runs no code of the project; trying one
(`require_usable`) runs the callable on a stand-in, in which it can neither look at rows nor ask a
database.

Note [Recognised]: an `on_delete` is the policy that it equals (Django compares with `==`, too), or
that its wrappers lead to, or that its field deconstructs to. Only the first is certain. A wrapper
may do more than what it wraps, so it is tried before anything is left to the workers: it has to
hand all rows on, unseen, to the policy that it names.

Note [Unknown is refused]: what is none of these may set a value, if it does so on the stand-in.
Anything else might keep rows or forbid the delete, so the delete is refused.
"""

from __future__ import annotations

import enum
import functools
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias
from weakref import WeakKeyDictionary

from django.db import connections, models

from ..exceptions import UnusablePolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    def checked_at_once(self) -> bool:
        """Whether the policy answers inside the parent's delete, not after it."""
        return self in {Policy.PROTECT, Policy.RESTRICT}

    @functools.cached_property
    def cascades(self) -> bool:
        """Whether the policy leaves work in the child's database after the parent's delete."""
        return not (self.checked_at_once or self is Policy.DO_NOTHING)

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


def is_plain(field: ForeignKey) -> bool:
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


# What it does

REMEDY = (
    "Declare one of Django's policies, models.SET(…) for a value, or a function that sets one value"
    " by collector.add_field_update(field, value, sub_objs)"
)


class _AsksDatabase(UnusablePolicy):
    """An `on_delete` asked a database while it was tried."""


class Rows:
    """Stands in for rows that are elsewhere. A policy may hand it on, and not look into it."""

    def _refuse(self, *_: object) -> NoReturn:
        raise UnusablePolicy("it looks at the rows, which are in another database")

    __bool__ = __len__ = __iter__ = __getitem__ = __contains__ = _refuse
    __getattr__ = _refuse


@dataclass(slots=True, init=False)
class Trial:
    """Stands in for a Collector, and keeps what an `on_delete` asks it for."""

    rows: Rows
    values: list[Any]
    collected: bool

    def __init__(self) -> None:
        self.rows, self.values, self.collected = Rows(), [], False

    def add_field_update(self, field: ForeignKey, value: Any, objs: object) -> None:  # noqa: ARG002 (the Collector's signature)
        """Keep a value that is to be set."""
        self._require_all(objs)
        self.values.append(value)

    def collect(self, objs: object, *_: object, **__: object) -> None:
        """Note that the rows are to be deleted."""
        self._require_all(objs)
        self.collected = True

    def _require_all(self, objs: object) -> None:
        if objs is not self.rows:
            raise UnusablePolicy("it chooses among the rows, which are in another database")


def tried(on_delete: OnDelete, field: ForeignKey, using: str) -> Trial:
    """Return what an `on_delete` does with all rows that refer through `field`.

    Raises `UnusablePolicy`, with the reason alone, where it looks at rows or uses more of the
    Collector than there is.
    """
    trial = Trial()
    try:
        on_delete(trial, field, trial.rows, using)
    except AttributeError as error:
        raise UnusablePolicy(
            f"it uses more of the Collector than add_field_update() ({error})"
        ) from error
    return trial


#: Field → its `on_delete`, adopted or not, that was tried and found usable.
_usable: WeakKeyDictionary[ForeignKey, OnDelete] = WeakKeyDictionary()


def require_usable(field: ForeignKey, name: str, using: str) -> None:
    """Refuse an `on_delete` that the workers cannot carry out. See Note [Unknown is refused].

    Raises `UnusablePolicy`, which names the relation, the callable and the remedy.
    """
    if reason := unusable(field, using):
        raise UnusablePolicy(f"{name}: {reason}. {REMEDY}")


def unusable(field: ForeignKey, using: str) -> str:
    """Return why the workers cannot carry out the field's `on_delete`; "" where they can.

    Asks no database, and refuses the callable to ask one. PROTECT and RESTRICT are carried out
    before the delete, without their wrappers.
    """
    given: Any = field.remote_field.on_delete
    if _usable.get(field) is given:
        return ""
    on_delete, policy = declared_on_delete(field), policy_of(field)
    try:
        if not (is_plain(field) or policy.checked_at_once):
            with _no_database():
                _require(policy, tried(on_delete, field, using))
    except Exception as error:  # noqa: BLE001 (a project's own function may fail in any way)
        if isinstance(error, _AsksDatabase) and policy.sets and policy is not Policy.CUSTOM:
            return ""  # for its value, as SET() may
        name = callable_name(on_delete)
        return f"its on_delete, {name}, cannot be carried out in another database: {error}"
    _usable[field] = given
    return ""


def value_set(trial: Trial) -> Any:
    """Return the one value that was set. Raises `UnusablePolicy` where something else was done."""
    if trial.collected or len(trial.values) != 1:
        raise UnusablePolicy(f"it {_deeds(trial)}")
    return trial.values[0]


def _require(policy: Policy, trial: Trial) -> None:
    """Raise `UnusablePolicy` for a callable that does not do what it is named after."""
    if policy.sets:
        value_set(trial)
    elif trial.collected is not (policy is Policy.CASCADE) or trial.values not in ([], [None]):
        raise UnusablePolicy(f"it is named {policy}, and {_deeds(trial)}")


def _deeds(trial: Trial) -> str:
    values = f"sets {len(trial.values)} values" if trial.values else "sets no value"
    return "deletes rows by collect()" if trial.collected else values


def callable_name(on_delete: OnDelete) -> str:
    """Return the name of a callable, as in "shop.models.keep"."""
    known = on_delete if hasattr(on_delete, "__qualname__") else type(on_delete)
    return f"{known.__module__}.{known.__qualname__}"


@contextmanager
def _no_database() -> Iterator[None]:
    """Refuse this thread every connection and statement for the length of a block."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise _AsksDatabase("it asks a database")

    with ExitStack() as stack:
        for alias in connections:
            connection: Any = connections[alias]
            stack.enter_context(connection.execute_wrapper(refuse))
            before = vars(connection).get("ensure_connection")
            connection.ensure_connection = refuse
            stack.callback(_restore, connection, before)
        yield


def _restore(connection: Any, before: object) -> None:
    del connection.ensure_connection
    if before is not None:
        connection.ensure_connection = before
