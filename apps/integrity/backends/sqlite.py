"""SQLite's `KeyReader`: a page of keys is a JSON array that Python passes on unopened."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from django.db import connections

from . import visibility
from .base import KeyPage
from .quoted import extra_conditions, names_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from ..relations import Field
    from ..relations.relation import ForeignKey


class SQLiteKeys:
    """See `KeyReader`."""

    def reading(self, child: str) -> AbstractContextManager[object]:  # noqa: ARG002 (the protocol's)
        return nullcontext()

    def ask(
        self, field: Field, after: str | None, limit: int, *, child: str
    ) -> Callable[[], KeyPage | None]:
        names = names_of(field, child)
        where, params = ("IS NOT NULL", []) if after is None else ("> %s", [after])

        def answer() -> KeyPage | None:
            with visibility.whole(child, field.model), connections[child].cursor() as cursor:
                cursor.execute(
                    "SELECT json_group_array(key), min(key), max(key), count(*), sum(number) FROM"
                    f" (SELECT {names['key']} AS key, count(*) AS number FROM {names['table']}"
                    f" WHERE {names['key']} {where}{extra_conditions(field, names['table'], child)}"
                    " GROUP BY 1 ORDER BY 1 LIMIT %s)",
                    [*params, limit],
                )
                keys, first, last, count, rows = cursor.fetchone()
            if not count:
                return None
            return KeyPage(
                keys=keys,
                first=str(first),
                last=str(last),
                count=count,
                rows=rows,
                end=count < limit,
            )

        return answer

    def missing(self, field: ForeignKey, page: KeyPage, *, parent: str) -> list[str]:
        target = field.target_field
        names = names_of(target, parent)
        with visibility.whole(parent, target.model), connections[parent].cursor() as cursor:
            # A join: SQLite would run NOT EXISTS as a subprogram for each key.
            cursor.execute(
                f"SELECT value FROM json_each(%s) LEFT JOIN {names['table']} AS parent"
                f" ON parent.{names['key']} = value WHERE parent.{names['key']} IS NULL",
                [page.keys],
            )
            return [str(key) for (key,) in cursor.fetchall()]
