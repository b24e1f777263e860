"""Helpers for a project's tests: run cascades in this process, and check what is left.

They work in `TestCase`, whose transactions never commit, and in `TransactionTestCase`. They need no
worker and no broker. `pytest_plugin` provides them as fixtures.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import ProtectedError, QuerySet, RestrictedError
from django.test.utils import override_settings

from . import backends, relations
from .backends import lookups
from .backends.connections import reach
from .control import circuit_breaker
from .exceptions import NotDrained
from .log import retry
from .queues import dispatch
from .queues.base import Job, work_once
from .relations import plan, stored
from .relations.generic import content_type_condition, with_content_type
from .relations.keys import format_key, to_stored
from .relations.policies import Policy
from .report import lengths, remaining
from .scan.parents import missing_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from unittest import TestCase as Base

    from django.db.models import Model

    from .relations import Relation
else:
    Base = object

#: A failure message names at most this many keys.
KEYS_SHOWN = 5
#: `assert_no_orphans` reads this many keys in one step.
STEP_KEYS = 10_000
#: A row of a relation's child, by database and primary key.
Row = tuple[str, Any]


def databases() -> frozenset[str]:
    """Return the aliases that a test of cascades needs: of parents, children and `default`."""
    known = relations.catalogue()
    needed = {DEFAULT_DB_ALIAS, *known.log_databases, *known.child_databases}
    # A project may leave its default database empty; Django puts a dummy there.
    return frozenset(alias for alias in needed if connections[alias].vendor != "unknown")


def quiet(**changes: object) -> override_settings:
    """Return a context that publishes no message. `changes` are further settings of INTEGRITY."""
    given: Mapping[str, object] = getattr(settings, "INTEGRITY", {})
    return override_settings(INTEGRITY={**given, "wakeups": False, **changes})


def drain(*, seconds: float = 30.0) -> Counter[str]:
    """Dispatch and cascade in this process until nothing is due.

    Cascades that failed before are tried once more, without their backoff. Inside a test's
    transaction, everything happens in that transaction.

    Args:
        seconds: The longest time to work, in seconds.

    Returns the number of changed rows by the relation's label, as in the receipt.

    Raises:
        NotDrained: cascades are left that are blocked, failed, paused, unreachable or not done
            within `seconds`. Its `reasons` say why, by child database.
    """
    with quiet(probe_seconds=0.001):
        for using in circuit_breaker.answering_logs():
            retry.make_due_now(using=using)
        rows, unreachable = _rounds(time.monotonic() + seconds)
    if reasons := remaining.unfinished() | unreachable:
        raise NotDrained(reasons)
    return rows


def _rounds(ends: float) -> tuple[Counter[str], dict[str, str]]:
    """Repeat until a round changes nothing, because a cascade may record further deletions.

    Return the changed rows by relation, and why by unreachable database.
    """
    rows, unreachable = Counter[str](), dict[str, str]()
    progress = True
    while progress and time.monotonic() < ends:
        dispatched, due = dispatch.sweep_all()
        progress = bool(dispatched)
        for database in sorted(due - unreachable.keys()):
            seconds = max(0.0, ends - time.monotonic())
            outcome = work_once(Job.CASCADE, database, seconds=seconds)
            progress = progress or bool(outcome.changes)
            rows += outcome.rows
            if outcome.unreachable:
                unreachable[database] = outcome.unreachable
    return rows, unreachable


def assert_no_orphans(*names: str) -> None:
    """Fail if rows refer to a parent that does not exist. It reads every key and writes nothing.

    Args:
        names: The labels of relations. Default: all relations, except those with DO_NOTHING.

    Raises:
        AssertionError: there are orphans. It names relation, database, their number and first keys.
        UnknownName: a name that is not the label of a relation.
        DatabaseUnreachable: a database does not answer.
    """
    known = relations.catalogue()
    chosen = [known.relation(name) for name in names] or [
        relation for relation in known.relations if relation.policy is not Policy.DO_NOTHING
    ]
    orphans = [
        line
        for relation in chosen
        for database in relation.child_databases
        if (line := _orphans(relation, database))
    ]
    if orphans:
        if remaining.unfinished():
            orphans.append("Not everything is cascaded yet: call drain() first.")
        raise AssertionError("\n".join(orphans))


def _orphans(relation: Relation, database: str) -> str:
    """Return a line about the relation's orphans in that database; "" if there are none."""
    for alias in (database, *relation.parent_databases):
        reach(alias)
    relation = with_content_type(relation)
    keys = list(_missing_keys(relation, database))
    if not keys:
        return ""
    values = _prepared(relation, keys, database)
    rows = backends.row_backend(database).count_rows(relation.field, values, using=database)
    first = ", ".join(format_key(relation.target, key) for key in keys[:KEYS_SHOWN])
    more = ", …" if len(keys) > KEYS_SHOWN else ""
    return (
        f"{relation.label} in {database}: {lengths.number_of(rows, 'orphan')} of"
        f" {len(keys):,} missing {relation.parent._meta.label}: {first}{more}"
    )


def _missing_keys(relation: Relation, database: str) -> Iterator[Any]:
    parent = relation.parent_databases[0]
    reader = backends.key_reader(relation.field, child=database, parent=parent)
    after: str | None = None
    with reader.reading(database):
        while page := reader.ask(relation.field, after, STEP_KEYS, child=database)():
            yield from missing_keys(relation, reader, page)
            if page.end:
                return
            after = page.last


def assert_cascades(
    name: str, *, parent: Callable[[], Model], child: Callable[[Any], object]
) -> None:
    """Delete a parent, and check that the policy is applied to its rows and to no others.

    It saves two parents with rows, deletes one of them and calls `drain()`.

    Args:
        name: The label of the relation.
        parent: A function that saves and returns a new parent each time.
        child: A function that saves at least one row of the relation that refers to its argument.

    Raises:
        AssertionError: the rows are not as the policy demands, or a factory does something else.
        UnknownName: `name` is not the label of a relation.
        NotDrained: the policy could not be carried out.
    """
    relation = with_content_type(relations.catalogue().relation(name))
    gone, kept = parent(), parent()
    key, other = (getattr(saved, relation.target.attname) for saved in (gone, kept))
    if key == other:
        raise AssertionError(f"parent() returned {_named(relation, key)} twice")
    for saved in (gone, kept):
        child(saved)
    before = _rows(relation)
    held, kept_key = _prepared(relation, [key, other], relation.child_databases[0])
    for value, stored_key in ((key, held), (other, kept_key)):
        if stored_key not in before.values():
            raise AssertionError(f"child() saved no {name} with {_named(relation, value)}")
    _delete(gone, relation)
    drain()
    living = lookups.existing(relation.target, {0: key, 1: other}, relation.parent_databases)
    if living != ({0, 1} if relation.policy.protects else {1}):
        left = [str((key, other)[index]) for index in sorted(living)]
        raise AssertionError(f"parents left after deleting {_named(relation, key)}: {left}")
    if wrong := _difference(_expected(relation, before, held), _rows(relation)):
        raise AssertionError(
            f"{name} is {relation.policy}; after deleting {_named(relation, key)}: {wrong}"
        )


def _named(relation: Relation, key: Any) -> str:
    return f"{relation.parent._meta.label} {format_key(relation.target, key)}"


def _rows(relation: Relation) -> dict[Row, Any]:
    """Return each row of the child with its key; None if the key belongs to another model."""
    besides = content_type_condition(relation.field)
    names = [field.attname for field in (relation.field, *besides)]
    return {
        (alias, pk): stored.prepare(relation.field, key, alias)
        if held == [*besides.values()]
        else None
        for alias in relation.child_databases
        for pk, key, *held in QuerySet(model=relation.child, using=alias).values_list("pk", *names)
    }


def _prepared(relation: Relation, keys: list[Any], database: str) -> list[Any]:
    """Return what rows in that database store if they refer to parents with those keys."""
    held = [to_stored(relation.field, key) for key in keys]
    return stored.prepare_all(relation.field, held, database)


def _delete(instance: Model, relation: Relation) -> None:
    """Delete the instance. If the policy is PROTECT or RESTRICT, the delete has to be refused."""
    label = _named(relation, getattr(instance, relation.target.attname))
    try:
        instance.delete()
    except (ProtectedError, RestrictedError) as error:
        refused = (
            error.protected_objects
            if isinstance(error, ProtectedError)
            else error.restricted_objects
        )
        if not relation.policy.protects or not any(
            isinstance(row, relation.child) for row in refused
        ):
            raise
    else:
        if relation.policy.protects:
            raise AssertionError(
                f"{relation.label} is {relation.policy}, and {label} was deleted all the same"
            )


def _expected(relation: Relation, before: dict[Row, Any], key: Any) -> dict[Row, Any]:
    """Return the rows that the policy leaves when the parent `key` is gone."""
    if relation.policy.protects or relation.policy is Policy.DO_NOTHING:
        return before
    if relation.policy is Policy.CASCADE:
        return {row: held for row, held in before.items() if held != key}
    value = plan.replacement(relation.field, relation.child_databases[0])
    value = stored.prepare(relation.field, value, relation.child_databases[0])
    return {row: value if held == key else held for row, held in before.items()}


def _difference(wanted: dict[Row, Any], actual: dict[Row, Any]) -> str:
    """Return a line about the rows that are not as wanted; "" if there are none."""
    kinds = {
        "still there": [row for row in actual if row not in wanted],
        "gone": [row for row in wanted if row not in actual],
        "with another key": [row for row in wanted if actual.get(row, wanted[row]) != wanted[row]],
    }
    return "; ".join(
        f"{len(rows):,} {kind} (" + ", ".join(f"{pk} in {db}" for db, pk in rows[:KEYS_SHOWN]) + ")"
        for kind, rows in kinds.items()
        if rows
    )


class _Databases:
    """The `databases` of a test class, computed when a test runs: the routers are ready then."""

    def __get__(self, instance: object, owner: type | None = None) -> frozenset[str]:
        return databases()


class CrossDatabaseTestMixin(Base):
    """Put it before `TestCase` or `TransactionTestCase` in a test class.

    The tests may access all databases that cascades need, and no message is published.
    """

    databases = cast("frozenset[str]", _Databases())

    drain = staticmethod(drain)
    assert_no_orphans = staticmethod(assert_no_orphans)
    assert_cascades = staticmethod(assert_cascades)

    @classmethod
    def setUpClass(cls) -> None:
        """Publish no messages during the tests of this class."""
        super().setUpClass()
        cls.enterClassContext(quiet())
