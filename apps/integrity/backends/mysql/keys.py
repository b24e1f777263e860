"""Reads the keys of a scan, on MySQL and MariaDB.

Note [Found, then proven]: a page of keys has a first and a last one, and most of what a parent's
table has between them are the page's own parents. So one range of an index finds nearly all of
them, in a fraction of the time of asking for each key. What such a fast read finds is there. What
it does not find may be sorted or spelled otherwise in the parents' table, so the parents' server is
asked for each of the other keys, by its own comparison, and only that counts as missing.

Note [One text]: numbers, UUIDs and dates travel as one text for a page (GROUP_CONCAT): Python
splits it in a tenth of the time that rows take. A server cuts a text that is too long, so the
number of the keys is counted beside it; where both differ, the text is not used.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import filterfalse
from typing import TYPE_CHECKING, Any

from django.db import connections, models

from ...relations.columns import underlying_field
from ...relations.keys import format_key, parse_key
from ...relations.stored import prepare, prepare_all
from .. import collations, visibility
from ..key_pages import KeyPage
from ..portable.keys import PortableKeys
from ..quoted import extra_conditions, names_of
from . import row_sql
from .rows import MySQLRows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...relations import Field
    from ...relations.relation import ForeignKey

#: The most keys of one page: each becomes a Python object.
STEP = 20_000
#: A range is read where it has up to so many rows for each key of the page.
SPREAD = 4
#: The longest text of a page: no key of these fields has more characters than a decimal.
PACKED_BYTES = STEP * (65 + len("-.,"))
#: Fields whose values have one text form, without a comma.
PACKED = (models.IntegerField, models.DecimalField, models.UUIDField, models.DateField)
#: Fields whose values the driver returns as they are, or in that form.
PLAIN = (*PACKED, models.CharField, models.TextField)


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys of a page as the driver returns them, with the first and the last by the index."""

    first: Any
    last: Any
    values: Sequence[Any]


class MySQLKeys(PortableKeys):
    """See `KeyReader`. The keys of a page are `Keys`, or a list of the ORM's values."""

    def __init__(self) -> None:
        """Begin without sessions that take long texts."""
        self._roomy = set[str]()

    def ask(
        self, field: Field, after: str | None, limit: int, *, child: str
    ) -> Callable[[], KeyPage | None]:
        if not _is(field, PLAIN):
            return super().ask(field, after, limit, child=child)
        names, most = names_of(field, child), min(limit, STEP)
        where, params = "IS NOT NULL", list[Any]()
        if after is not None:
            where, params = "> %s", [prepare(field, parse_key(field, after), child)]
        # Counts rows: to count keys would read the table, too, and not only its index.
        step = (
            f"SELECT {names['key']} AS k, COUNT(*) AS n FROM {names['table']}"
            f" WHERE {names['key']} {where}{extra_conditions(field, names['table'], child)}"
            f" GROUP BY {names['key']} ORDER BY {names['key']} LIMIT %s"
        )

        def answer() -> KeyPage | None:
            packed = self._packed(step, params, most, child) if _is(field, PACKED) else None
            keys, rows = packed or _row_by_row(step, params, most, child)
            end = len(keys.values) < most
            if keys.values and collations.is_exact(field, child):
                keys = _spelled(field, keys, child)
            visibility.require_whole(child, field.model)
            if not keys.values:
                return None
            return KeyPage(
                keys=keys,
                first=format_key(field, field.to_python(keys.first)),
                last=format_key(field, field.to_python(keys.last)),
                count=len(keys.values),
                rows=rows,
                end=end,
            )

        return answer

    def missing(self, field: ForeignKey, page: KeyPage, *, parent: str) -> list[str]:
        target, keys = field.target_field, page.keys
        if not isinstance(keys, Keys):
            return super().missing(field, page, parent=parent)
        if connections[parent].vendor != "mysql" or not _is(target, PLAIN):
            values = [field.to_python(key) for key in keys.values]
            if _is(field, PACKED):
                values.sort()
            return super().missing(field, dataclasses.replace(page, keys=values), parent=parent)
        seen = self._seen(target, keys, parent)
        values = [*map(target.to_python, filterfalse(seen.__contains__, keys.values))]
        if not values:
            return []
        # See Note [Found, then proven].
        prepared = prepare_all(target, values, parent)
        present = MySQLRows().keys_with_rows(target, prepared, using=parent)
        found = zip(values, prepared, strict=True)
        return [format_key(target, value) for value, key in found if key not in present]

    def _packed(
        self, step: str, params: Sequence[Any], most: int, using: str
    ) -> tuple[Keys, int] | None:
        """Return the keys of a step and the number of rows; None where the text was cut."""
        self._make_room(using)
        sql = f"SELECT MIN(k), MAX(k), SUM(n), COUNT(*), GROUP_CONCAT(k) FROM ({step}) AS step"
        ((first, last, rows, count, text),) = _fetch(sql, [*params, most], using)
        if not count:
            return Keys(None, None, ()), 0
        values = text.split(",")
        return (Keys(first, last, values), int(rows)) if len(values) == count else None

    def _seen(self, target: Field, keys: Keys, parent: str) -> set[Any]:
        """Return keys of parents that fast reads find. See Note [Found, then proven]."""
        names, most = names_of(target, parent), SPREAD * len(keys.values)
        rows = f"FROM {names['table']} WHERE {names['key']}"
        between, bounds = f"{rows} BETWEEN %s AND %s", [keys.first, keys.last]
        if _estimate(f"SELECT {names['key']} {between}", bounds, parent) <= most:
            if _is(target, PACKED):
                self._make_room(parent)
                sql = f"SELECT GROUP_CONCAT({names['key']}), COUNT(*) {between}"
                ((text, count),) = _fetch(sql, bounds, parent)
                packed = text.split(",") if text else ()
                if len(packed) == count:
                    return {*packed}
            found = _fetch(f"SELECT {names['key']} {between} LIMIT %s", [*bounds, 2 * most], parent)
            return _as_in_page(target, found)
        seen = set[Any]()
        for start in range(0, len(keys.values), row_sql.KEYS):
            part = keys.values[start : start + row_sql.KEYS]
            marks = ", ".join(["%s"] * len(part))
            found = _fetch(f"SELECT {names['key']} {rows} IN ({marks})", part, parent)
            seen |= _as_in_page(target, found)
        return seen

    def _make_room(self, using: str) -> None:
        """Let the session return long texts. A pooler may use another one: see Note [One text]."""
        if using not in self._roomy:
            with connections[using].cursor() as cursor:
                cursor.execute("SET SESSION group_concat_max_len = %s", [PACKED_BYTES])
            self._roomy.add(using)


def _as_in_page(target: Field, rows: Sequence[Any]) -> set[Any]:
    return {str(key) if _is(target, PACKED) else key for (key,) in rows}


def _row_by_row(step: str, params: Sequence[Any], most: int, using: str) -> tuple[Keys, int]:
    rows = _fetch(step, [*params, most], using)
    if not rows:
        return Keys(None, None, ()), 0
    values, numbers = zip(*rows, strict=True)
    return Keys(values[0], values[-1], values), sum(numbers)


def _spelled(field: Field, keys: Keys, using: str) -> Keys:
    """Return each spelling of keys that the column takes for equal."""
    names = names_of(field, using)
    sql = (
        f"SELECT MIN({names['key']}) FROM {names['table']}"
        f" WHERE {names['key']} BETWEEN %s AND %s{extra_conditions(field, names['table'], using)}"
        f" GROUP BY {collations.BYTES % {'expressions': names['key']}}"
    )
    rows = _fetch(sql, [keys.first, keys.last], using)
    return Keys(keys.first, keys.last, [key for (key,) in rows])


def _estimate(sql: str, params: Sequence[Any], using: str) -> int:
    """Return how many rows the server expects to read for a statement."""
    with connections[using].cursor() as cursor:
        cursor.execute(f"EXPLAIN {sql}", params)
        names = [column[0] for column in cursor.description]
        return max((int(row[names.index("rows")] or 0) for row in cursor.fetchall()), default=0)


def _is(field: Field, kinds: tuple[type[models.Field[Any, Any]], ...]) -> bool:
    kind = underlying_field(field)
    return isinstance(kind, kinds) and not isinstance(kind, models.DateTimeField)


def _fetch(sql: str, params: Sequence[Any], using: str) -> Sequence[Any]:
    with connections[using].cursor() as cursor:
        cursor.execute(sql, params)
        rows: Sequence[Any] = cursor.fetchall()
        return rows
