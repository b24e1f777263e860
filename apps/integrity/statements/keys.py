"""Distinct keys of a child, step by step, and which of them have no parent.

Three forms behind one interface: PostgreSQL's and SQLite's pack a step into one value that Python
passes on unopened; the ORM's serves every other backend, and children and parents of two kinds.

Note [Packed]: the client never makes an object of a key that has a parent. That is what makes the
scan as fast as the servers are.

Note [Bounds]: with the step's first and last key as bounds, and an ORDER BY, the parent's server
merges two ordered walks of an index; without them it probes for each key or hashes the whole table.
Not for text: two databases may sort it differently, and a bound would hide living parents.

Note [Ask early]: in PostgreSQL's pipeline mode the next step is asked for before the parents are,
so both servers work at once, on one connection each and without a thread.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from django.db import connections, models, transaction
from django.db.models import Count, QuerySet

from ..relations import format_key, parse_key
from .postgresql import names_of, type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from ..relations import Field

#: Keys of one step, where each becomes a Python object.
PORTABLE_STEP = 10_000
#: Parameters of one list, as in portable.py.
PARAMETERS = 450


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Distinct keys, in the child's order. `keys` is for the form that gave it, and nobody else."""

    keys: Any
    first: str
    last: str
    count: int
    rows: int


class Form(Protocol):
    """How keys are read. Texts of keys are as the database writes them."""

    def reading(self, child: str) -> AbstractContextManager[object]:
        """Around all steps of one run, on the child's database. A transaction that only reads."""

    def ask(
        self, field: Field, after: str | None, limit: int, *, child: str
    ) -> Callable[[], Step | None]:
        """Ask for the keys after `after`; the result gives them, or None when there are no more."""

    def missing(self, target: Field, step: Step, *, parent: str) -> list[str]:
        """Those keys of `step` that no row's `target` holds."""


def form_for(child: str, parent: str) -> Form:
    """The form for keys in one database that point into another one."""
    vendors = {connections[child].vendor, connections[parent].vendor}
    if vendors == {"postgresql"}:
        return PostgreSQLKeys()
    return SQLiteKeys() if vendors == {"sqlite"} else PortableKeys()


class PostgreSQLKeys:
    """Arrays as text. See the Notes above."""

    @contextmanager
    def reading(self, child: str) -> Iterator[None]:
        with transaction.atomic(using=child), connections[child].cursor() as cursor:
            # A parallel plan reads past the LIMIT in each step.
            cursor.execute("SET LOCAL max_parallel_workers_per_gather = 0")
            with connections[child].connection.pipeline():
                yield

    def ask(
        self, field: Field, after: str | None, limit: int, *, child: str
    ) -> Callable[[], Step | None]:
        names = names_of(field, child)
        where, params = "IS NOT NULL", []
        if after is not None:
            where, params = f"> %s::{type_of(field, child)}", [after]
        cursor = connections[child].cursor()
        cursor.execute(
            "SELECT keys::text, keys[1]::text, keys[cardinality(keys)]::text, cardinality(keys),"
            " rows"
            " FROM (SELECT array_agg(key) AS keys, sum(number)::bigint AS rows FROM"
            f" (SELECT {names['key']} AS key, count(*) AS number FROM {names['table']}"
            f" WHERE {names['key']} {where} GROUP BY 1 ORDER BY 1 LIMIT %s) AS step) AS packed",
            [*params, limit],
        )
        return lambda: _step(cursor)

    def missing(self, target: Field, step: Step, *, parent: str) -> list[str]:
        names, kind = names_of(target, parent), type_of(target, parent)
        bounds, params = "", []
        if isinstance(target, models.IntegerField | models.UUIDField):
            bounds = f" AND parent.{names['key']} BETWEEN %s::{kind} AND %s::{kind}"
            params = [step.first, step.last]
        with connections[parent].cursor() as cursor:
            cursor.execute(
                f"SELECT wanted.key::text FROM unnest(%s::{kind}[]) AS wanted (key)"
                f" WHERE NOT EXISTS (SELECT FROM {names['table']} AS parent"
                f" WHERE parent.{names['key']} = wanted.key{bounds}) ORDER BY wanted.key",
                [step.keys, *params],
            )
            return [key for (key,) in cursor.fetchall()]


class SQLiteKeys:
    """JSON arrays. See the Notes above."""

    def reading(self, child: str) -> AbstractContextManager[object]:  # noqa: ARG002
        return nullcontext()

    def ask(
        self, field: Field, after: str | None, limit: int, *, child: str
    ) -> Callable[[], Step | None]:
        names = names_of(field, child)
        where, params = ("IS NOT NULL", []) if after is None else ("> %s", [after])

        def answer() -> Step | None:
            with connections[child].cursor() as cursor:
                cursor.execute(
                    "SELECT json_group_array(key), min(key), max(key), count(*), sum(number) FROM"
                    f" (SELECT {names['key']} AS key, count(*) AS number FROM {names['table']}"
                    f" WHERE {names['key']} {where} GROUP BY 1 ORDER BY 1 LIMIT %s)",
                    [*params, limit],
                )
                keys, first, last, count, rows = cursor.fetchone()
            if not count:
                return None
            return Step(keys=keys, first=str(first), last=str(last), count=count, rows=rows)

        return answer

    def missing(self, target: Field, step: Step, *, parent: str) -> list[str]:
        names = names_of(target, parent)
        with connections[parent].cursor() as cursor:
            cursor.execute(
                f"SELECT value FROM json_each(%s) WHERE NOT EXISTS (SELECT 1 FROM {names['table']}"
                f" AS parent WHERE parent.{names['key']} = value)",
                [step.keys],
            )
            return [str(key) for (key,) in cursor.fetchall()]


class PortableKeys:
    """The ORM's values."""

    def reading(self, child: str) -> AbstractContextManager[object]:  # noqa: ARG002
        return nullcontext()

    def ask(
        self, field: Field, after: str | None, limit: int, *, child: str
    ) -> Callable[[], Step | None]:
        rows: QuerySet[Any] = QuerySet(model=field.model, using=child)
        name = field.attname
        rows = (
            rows.exclude(**{name: None})
            if after is None
            else rows.filter(**{f"{name}__gt": parse_key(field, after)})
        )
        grouped = rows.order_by(name).values_list(name).annotate(Count("pk"))

        def answer() -> Step | None:
            found = list(grouped[: min(limit, PORTABLE_STEP)])
            if not found:
                return None
            keys = [key for key, _ in found]
            return Step(
                keys=keys,
                first=format_key(field, keys[0]),
                last=format_key(field, keys[-1]),
                count=len(keys),
                rows=sum(number for _, number in found),
            )

        return answer

    def missing(self, target: Field, step: Step, *, parent: str) -> list[str]:
        parents: QuerySet[Any] = QuerySet(model=target.model, using=parent)
        parents = parents.order_by().values_list(target.attname, flat=True)
        absent = dict.fromkeys(step.keys)
        for present in _present(parents, target, step.keys):
            absent.pop(present, None)
        return [format_key(target, key) for key in absent]


def _present(parents: QuerySet[Any], target: Field, keys: list[Any]) -> Iterator[Any]:
    """Keys that have a parent. A range is one query, where it holds few parents besides."""
    name = target.attname
    dense = isinstance(target, models.IntegerField) and keys[-1] - keys[0] <= 10 * len(keys)
    if dense:
        yield from parents.filter(**{f"{name}__range": (keys[0], keys[-1])}).iterator()
        return
    for start in range(0, len(keys), PARAMETERS):
        yield from parents.filter(**{f"{name}__in": keys[start : start + PARAMETERS]})


def _step(cursor: Any) -> Step | None:
    with cursor:
        keys, first, last, count, rows = cursor.fetchone()
    if keys is None:
        return None
    return Step(keys=keys, first=first, last=last, count=count, rows=rows)
