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
from django.db.models import Count, F, QuerySet

from .. import conf
from ..relations.generic import rows_of
from ..relations.keys import as_key, format_key, parse_key, writes_text
from ..relations.stored import StoredAfter, StoredIn, is_plain, prepare, prepare_all
from . import visibility
from .postgresql.sql import also, names_of, type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from django.db.backends.utils import CursorWrapper

    from ..relations import Field
    from ..relations.relation import ForeignKey

#: Keys of one step, where each becomes a Python object.
PORTABLE_STEP = 10_000
#: Parameters of one list, as in portable.py.
PARAMETERS = 450


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Distinct keys, in the child's order. `keys` is for the form that gave it, and nobody else.

    `end` says that there are no more.
    """

    keys: Any
    first: str
    last: str
    count: int
    rows: int
    end: bool


class Form(Protocol):
    """How keys are read. Texts of keys are as the database writes them."""

    def reading(self, child: str) -> AbstractContextManager[object]:
        """Around all steps of one run, on the child's database. A transaction that only reads."""

    def ask(
        self, field: Field, after: str | None, limit: int, *, child: str
    ) -> Callable[[], Step | None]:
        """Ask for the keys after `after`; the result gives them, or None when there are no more."""

    def missing(self, field: ForeignKey, step: Step, *, parent: str) -> list[str]:
        """Those keys of `step` that no parent has, as text."""


def form_for(field: ForeignKey, *, child: str, parent: str) -> Form:
    """The form for keys in one database that point into another one."""
    vendors = {connections[child].vendor, connections[parent].vendor}
    if writes_text(field) or not (is_plain(field) and is_plain(field.target_field)):
        return PortableKeys()
    if vendors == {"postgresql"}:
        return PostgreSQLKeys()
    return SQLiteKeys() if vendors == {"sqlite"} else PortableKeys()


class PostgreSQLKeys:
    """Arrays: binary where the driver can pass them on so, else as text. See the Notes above."""

    @contextmanager
    def reading(self, child: str) -> Iterator[None]:
        with transaction.atomic(using=child), connections[child].cursor() as cursor:
            # A parallel plan reads past the LIMIT in each step.
            cursor.execute(
                "SELECT set_config('max_parallel_workers_per_gather', '0', true),"
                " set_config('lock_timeout', %s, true)",
                [f"{max(1, round(conf.current().lock_seconds * 1000))}ms"],
            )
            with _pipeline(child):
                yield

    def ask(
        self, field: Field, after: str | None, limit: int, *, child: str
    ) -> Callable[[], Step | None]:
        names, kind = names_of(field, child), type_of(field, child)
        where, params = "IS NOT NULL", []
        if after is not None:
            where, params = f"> %s::{kind}", [after]
        hidden, table = visibility.cause_for(field.model, child)
        cursor, keys = _cursor(child, kind)
        cursor.execute(
            f"SELECT {hidden}, {keys}, {_text('keys[1]')}, {_text('keys[cardinality(keys)]')},"
            f" cardinality(keys), rows"
            f" FROM (SELECT array_agg(key)::{kind}[] AS keys, sum(number)::bigint AS rows FROM"
            f" (SELECT {names['key']} AS key, count(*) AS number FROM {names['table']}"
            f" WHERE {names['key']} {where}{also(field, names['table'], child)}"
            " GROUP BY 1 ORDER BY 1 LIMIT %s) AS step) AS packed",
            [table, *params, limit],
        )
        return lambda: _step(cursor, limit, field, child)

    def missing(self, field: ForeignKey, step: Step, *, parent: str) -> list[str]:
        target = field.target_field
        names, kind = names_of(target, parent), type_of(field, parent)
        bounds, params = "", []
        if isinstance(target, models.IntegerField | models.UUIDField):
            bounds = f" AND parent.{names['key']} BETWEEN %s::{kind} AND %s::{kind}"
            params = [step.first, step.last]
        guard, table = visibility.guard(target.model, parent)
        cursor, _ = _cursor(parent, kind)
        with cursor:
            cursor.execute(
                f"(SELECT {_text('wanted.key')} FROM unnest(%s::{kind}[]) AS wanted (key)"
                f" WHERE NOT EXISTS (SELECT FROM {names['table']} AS parent"
                f" WHERE parent.{names['key']} = wanted.key{bounds}) ORDER BY wanted.key){guard}",
                [step.keys, *params, table],
            )
            absent = [key for (key,) in cursor.fetchall()]
        # None missing: each parent was seen, whatever else is hidden.
        return visibility.without_guard(absent, target.model, parent, every=0)


def _pipeline(using: str) -> AbstractContextManager[object]:
    """Psycopg 2 has none, nor has an old libpq: then each statement is waited for."""
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    if not is_psycopg3:
        return nullcontext()
    from psycopg import Pipeline

    found: AbstractContextManager[object] = (
        connections[using].connection.pipeline() if Pipeline.is_supported() else nullcontext()
    )
    return found


def _cursor(using: str, kind: str) -> tuple[CursorWrapper, str]:
    """A cursor for keys of that type, and how a statement says `keys` to it."""
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    if is_psycopg3:
        from .postgresql import packed

        if kind in packed.KINDS:
            return packed.cursor(using, kind), "keys"
    return connections[using].cursor(), "keys::text"


def _text(key: str) -> str:
    """A key as the server writes it. A cast to text would add a netmask to an address."""
    return f"format('%%s', {key})"


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
            with visibility.whole(child, field.model), connections[child].cursor() as cursor:
                cursor.execute(
                    "SELECT json_group_array(key), min(key), max(key), count(*), sum(number) FROM"
                    f" (SELECT {names['key']} AS key, count(*) AS number FROM {names['table']}"
                    f" WHERE {names['key']} {where}{also(field, names['table'], child)}"
                    " GROUP BY 1 ORDER BY 1 LIMIT %s)",
                    [*params, limit],
                )
                keys, first, last, count, rows = cursor.fetchone()
            if not count:
                return None
            return Step(
                keys=keys,
                first=str(first),
                last=str(last),
                count=count,
                rows=rows,
                end=count < limit,
            )

        return answer

    def missing(self, field: ForeignKey, step: Step, *, parent: str) -> list[str]:
        target = field.target_field
        names = names_of(target, parent)
        with visibility.whole(parent, target.model), connections[parent].cursor() as cursor:
            # A join: SQLite runs NOT EXISTS as a program of its own for each key.
            cursor.execute(
                f"SELECT value FROM json_each(%s) LEFT JOIN {names['table']} AS parent"
                f" ON parent.{names['key']} = value WHERE parent.{names['key']} IS NULL",
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
        rows, name = rows_of(field, child), field.attname
        rows = (
            rows.exclude(**{name: None})
            if after is None
            else rows.filter(StoredAfter(F(name), prepare(field, parse_key(field, after), child)))
        )
        # Of rows, not of their keys: that would read the table besides the index.
        grouped = rows.order_by(name).values_list(name).annotate(integrity_rows=Count("*"))

        def answer() -> Step | None:
            most = min(limit, PORTABLE_STEP)
            with visibility.whole(child, field.model):
                found = list(grouped[:most])
            if not found:
                return None
            keys, numbers = zip(*found, strict=True)
            return Step(
                keys=keys,
                first=format_key(field, keys[0]),
                last=format_key(field, keys[-1]),
                count=len(keys),
                rows=sum(numbers),
                end=len(keys) < most,
            )

        return answer

    def missing(self, field: ForeignKey, step: Step, *, parent: str) -> list[str]:
        target = field.target_field
        keys = _keys(field, step.keys, parent)
        parents: QuerySet[Any] = QuerySet(model=target.model, using=parent)
        parents = parents.order_by().values_list(target.attname, flat=True)
        absent = dict(keys)
        with visibility.whole(parent, target.model):
            for present in _present(parents, target, [*keys]) if keys else ():
                for key in prepare_all(target, present, parent):
                    absent.pop(key, None)
        return [format_key(target, key) for key in absent.values()]


def _keys(field: ForeignKey, values: Sequence[Any], parent: str) -> dict[Any, Any]:
    """The parents' keys that rows hold, in their order, by what a parent's row would hold.

    See Note [Canonical text], and Note [Prepared once] in stored.py.
    """
    keys = values
    if writes_text(field):
        keys = sorted(key for value in values if (key := as_key(field, value)) is not None)
    return dict(zip(prepare_all(field.target_field, keys, parent), keys, strict=True))


def _present(parents: QuerySet[Any], target: Field, keys: Sequence[Any]) -> Iterator[Iterable[Any]]:
    """Keys that have a parent. A range is one query, where it holds few parents besides."""
    name = target.attname
    whole_numbers = isinstance(target, models.IntegerField) and is_plain(target)
    if whole_numbers and keys[-1] - keys[0] <= 10 * len(keys):
        within = parents.filter(**{f"{name}__range": (keys[0], keys[-1])})
        yield within.iterator(chunk_size=PORTABLE_STEP)
        return
    for start in range(0, len(keys), PARAMETERS):
        yield parents.filter(StoredIn(F(name), keys[start : start + PARAMETERS]))


def _step(cursor: Any, limit: int, field: Field, child: str) -> Step | None:
    with cursor:
        hidden, keys, first, last, count, rows = cursor.fetchone()
    if hidden:
        raise visibility.refusal(field.model, child)
    if keys is None:
        return None
    return Step(keys=keys, first=first, last=last, count=count, rows=rows, end=count < limit)
