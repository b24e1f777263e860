"""PostgreSQL's `KeyReader`: a page of keys is an array that Python passes on unopened.

Note [Bounds]: with the page's first and last key as bounds, and an ORDER BY, the parent's server
merges two ordered walks of an index; without them it probes for each key or hashes the whole table.
Not for text: two databases may sort it differently, and a bound would hide living parents.

Note [Ask early]: in PostgreSQL's pipeline mode the next page is asked for before the parents are,
so both servers work at once, on one connection each and without a thread.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from django.db import connections, models, transaction

from ... import conf
from .. import visibility
from ..key_pages import KeyPage
from ..quoted import extra_conditions, names_of
from .sql import type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from django.db.backends.utils import CursorWrapper

    from ...relations import Field
    from ...relations.relation import ForeignKey


class PostgreSQLKeys:
    """See `KeyReader`. Arrays are binary where the driver can pass them on, else text."""

    @contextmanager
    def reading(self, child: str) -> Iterator[None]:
        with transaction.atomic(using=child), connections[child].cursor() as cursor:
            # A parallel plan reads past the LIMIT on each page.
            cursor.execute(
                "SELECT set_config('max_parallel_workers_per_gather', '0', true),"
                " set_config('lock_timeout', %s, true)",
                [f"{max(1, round(conf.current().lock_seconds * 1000))}ms"],
            )
            with _pipeline(child):
                yield

    def ask(
        self, field: Field, after: str | None, limit: int, *, child: str
    ) -> Callable[[], KeyPage | None]:
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
            f" WHERE {names['key']} {where}{extra_conditions(field, names['table'], child)}"
            " GROUP BY 1 ORDER BY 1 LIMIT %s) AS step) AS packed",
            [table, *params, limit],
        )
        return lambda: _page(cursor, limit, field, child)

    def missing(self, field: ForeignKey, page: KeyPage, *, parent: str) -> list[str]:
        target = field.target_field
        names, kind = names_of(target, parent), type_of(field, parent)
        bounds, params = "", []
        if isinstance(target, models.IntegerField | models.UUIDField):
            bounds = f" AND parent.{names['key']} BETWEEN %s::{kind} AND %s::{kind}"
            params = [page.first, page.last]
        guard, table = visibility.guard(target.model, parent)
        cursor, _ = _cursor(parent, kind)
        with cursor:
            cursor.execute(
                f"(SELECT {_text('wanted.key')} FROM unnest(%s::{kind}[]) AS wanted (key)"
                f" WHERE NOT EXISTS (SELECT FROM {names['table']} AS parent"
                f" WHERE parent.{names['key']} = wanted.key{bounds}) ORDER BY wanted.key){guard}",
                [page.keys, *params, table],
            )
            absent = [key for (key,) in cursor.fetchall()]
        # None is missing: the server showed each parent, whatever else it hides.
        return visibility.without_guard(absent, target.model, parent, every=0)


def _pipeline(using: str) -> AbstractContextManager[object]:
    """Return pipeline mode. Without it (psycopg 2, an old libpq), each statement waits."""
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    if not is_psycopg3:
        return nullcontext()
    from psycopg import Pipeline

    pipeline: AbstractContextManager[object] = (
        connections[using].connection.pipeline() if Pipeline.is_supported() else nullcontext()
    )
    return pipeline


def _cursor(using: str, kind: str) -> tuple[CursorWrapper, str]:
    """Return a cursor for keys of that type, and SQL for `keys` that it understands."""
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    if is_psycopg3:
        from . import packed

        if kind in packed.KINDS:
            return packed.cursor(using, kind), "keys"
    return connections[using].cursor(), "keys::text"


def _text(key: str) -> str:
    """Return SQL for a key as text. A cast to text would add a netmask to an address."""
    return f"format('%%s', {key})"


def _page(cursor: Any, limit: int, field: Field, child: str) -> KeyPage | None:
    """Wait for the page."""
    with cursor:
        hidden, keys, first, last, count, rows = cursor.fetchone()
    if hidden:
        raise visibility.refusal(field.model, child)
    if keys is None:
        return None
    return KeyPage(keys=keys, first=first, last=last, count=count, rows=rows, end=count < limit)
