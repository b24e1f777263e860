"""Run an `on_delete` on stand-ins, to learn whether the workers can carry it out.

The callable sees neither rows nor a database: `OpaqueRows` and `RecordingCollector` take the place
of the rows and of Django's Collector.

Note [Unknown is refused]: a wrapper has to pass all rows, without looking at them, to the policy
that it is recognised as. A project's own function may set one value. Anything else might keep rows
or forbid the delete, so the delete is refused.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import WeakKeyDictionary

from django.db import connections

from ..exceptions import UnusablePolicy
from .policies import Policy, declared_on_delete, is_builtin, policy_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .policies import ForeignKey, OnDelete

REMEDY = (
    "Declare one of Django's policies, models.SET(…) for a value, or a function that sets one value"
    " by collector.add_field_update(field, value, sub_objs)"
)


class _AsksDatabase(UnusablePolicy):
    """An `on_delete` used a database during its dry run."""


class OpaqueRows:
    """A stand-in for rows in another database. An `on_delete` may pass it on, but not use it."""

    def _refuse(self, *_: object) -> NoReturn:
        raise UnusablePolicy("it looks at the rows, which are in another database")

    __bool__ = __len__ = __iter__ = __getitem__ = __contains__ = _refuse
    __getattr__ = _refuse


@dataclass(slots=True, init=False)
class RecordingCollector:
    """A stand-in for a Collector that records what an `on_delete` does."""

    rows: OpaqueRows
    values: list[Any]
    collected: bool

    def __init__(self) -> None:
        self.rows, self.values, self.collected = OpaqueRows(), [], False

    def add_field_update(self, field: ForeignKey, value: Any, objs: object) -> None:  # noqa: ARG002 (the Collector's signature)
        """Record a value that is set."""
        self._require_all(objs)
        self.values.append(value)

    def collect(self, objs: object, *_: object, **__: object) -> None:
        """Record that the rows are deleted."""
        self._require_all(objs)
        self.collected = True

    def _require_all(self, objs: object) -> None:
        if objs is not self.rows:
            raise UnusablePolicy("it chooses among the rows, which are in another database")


def dry_run(on_delete: OnDelete, field: ForeignKey, using: str) -> RecordingCollector:
    """Return what an `on_delete` does with all rows that refer through `field`.

    Raises `UnusablePolicy` with the bare reason if it looks at rows, or if it uses a method of the
    Collector that the stand-in does not have.
    """
    trial = RecordingCollector()
    try:
        on_delete(trial, field, trial.rows, using)
    except AttributeError as error:
        raise UnusablePolicy(
            f"it uses more of the Collector than add_field_update() ({error})"
        ) from error
    return trial


#: Field → its current `on_delete`, adopted or not, after a successful dry run.
_usable: WeakKeyDictionary[ForeignKey, OnDelete] = WeakKeyDictionary()


def require_usable(field: ForeignKey, name: str, using: str) -> None:
    """Raise `UnusablePolicy` if the workers cannot carry out the field's `on_delete`.

    It names the relation, the callable and the remedy. See Note [Unknown is refused].
    """
    if reason := unusable(field, using):
        raise UnusablePolicy(f"{name}: {reason}. {REMEDY}")


def unusable(field: ForeignKey, using: str) -> str:
    """Return why the workers cannot carry out the field's `on_delete`; "" if they can.

    No database is used, and the callable is kept from using one. PROTECT and RESTRICT are checked
    before the delete, without their wrappers.
    """
    given: Any = field.remote_field.on_delete
    if _usable.get(field) is given:
        return ""
    on_delete, policy = declared_on_delete(field), policy_of(field)
    if policy.by_database:
        return f"{policy} works within one database: declare {policy.removeprefix('DB_')} instead"
    try:
        if not (is_builtin(field) or policy.protects):
            with _no_database():
                _require(policy, dry_run(on_delete, field, using))
    except Exception as error:  # noqa: BLE001 (a project's own function may fail in any way)
        if isinstance(error, _AsksDatabase) and policy.sets and policy is not Policy.CUSTOM:
            return ""  # for its value, as SET() may
        name = callable_name(on_delete)
        return f"its on_delete, {name}, cannot be carried out in another database: {error}"
    _usable[field] = given
    return ""


def value_set(trial: RecordingCollector) -> Any:
    """Return the only value that was set. Raises `UnusablePolicy` if anything else was done."""
    if trial.collected or len(trial.values) != 1:
        raise UnusablePolicy(f"it {_deeds(trial)}")
    return trial.values[0]


def _require(policy: Policy, trial: RecordingCollector) -> None:
    """Raise `UnusablePolicy` if the callable does something else than its policy."""
    if policy.sets:
        value_set(trial)
    elif trial.collected is not (policy is Policy.CASCADE) or trial.values not in ([], [None]):
        raise UnusablePolicy(f"it is named {policy}, and {_deeds(trial)}")


def _deeds(trial: RecordingCollector) -> str:
    values = f"sets {len(trial.values)} values" if trial.values else "sets no value"
    return "deletes rows by collect()" if trial.collected else values


def callable_name(on_delete: OnDelete) -> str:
    """Return the name of a callable, as in "shop.models.keep"."""
    known = on_delete if hasattr(on_delete, "__qualname__") else type(on_delete)
    return f"{known.__module__}.{known.__qualname__}"


@contextmanager
def _no_database() -> Iterator[None]:
    """Refuse each connection and statement of this thread during the block."""

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
