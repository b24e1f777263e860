"""SQL that picks and changes rows of given keys, at most a limit of them in one statement.

The Notes are in rows.py.
"""

from __future__ import annotations

import functools
from collections import Counter
from typing import TYPE_CHECKING, Any

from django.db import connections

from ..base import require_keys
from ..deleted import Deleted, Gone
from ..quoted import QuotedNames, extra_conditions, names_of
from .sql import EXACT, Unopened, as_array, fetch, hidden, type_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...relations import Field

#: The end of a statement whose rows that are `gone` are counted.
PER_KEY = "SELECT key, count(*) FROM gone GROUP BY key"


def pk_of(field: Field, using: str) -> str:
    """Return the primary key of a row `child`; of a composite one, a record of its columns."""
    pk_fields = field.model._meta.pk_fields
    names = QuotedNames(using, **{part.name: part.column for part in pk_fields})
    columns = [f"child.{name}" for name in names.values()]
    return columns[0] if len(columns) == 1 else f"ROW({', '.join(columns)})"


def rows_of_wanted_key(field: Field, using: str) -> str:
    """Return the condition and order of rows of `wanted.key`: Note [One index seek per key]."""
    key, rest = f"child.{names_of(field, using)['key']}", extra_conditions(field, "child", using)
    if field.unique:
        return f"WHERE {key} = wanted.key{rest}"
    return f"WHERE {key} BETWEEN wanted.key AND wanted.key{rest} ORDER BY {key}"


def holds_one_of_keys(field: Field, row: str, using: str) -> str:
    """Return the condition that `row` holds one of the keys, which are its parameter."""
    key = f"{row}.{names_of(field, using)['key']}"
    return f"{key} = ANY({hidden(type_of(field, using))}){extra_conditions(field, row, using)}"


def delete_of_keys(field: Field, using: str) -> str:
    """Return the statement that deletes all rows of keys, which are its parameter."""
    table = names_of(field, using)["table"]
    return f"DELETE FROM {table} AS child WHERE {holds_one_of_keys(field, 'child', using)}"


def execute_and_count(sql: str, params: list[Any], using: str) -> int:
    """Run the statement; return how many rows it has changed."""
    with connections[using].cursor() as cursor:
        cursor.execute(sql, params)
        return int(cursor.rowcount)


def delete_all(
    field: Field, keys: Sequence[Any], limit: int, count_by: str, using: str
) -> Gone | None:
    """Delete all rows of `keys`; return how many there were for each value of `count_by`.

    Return None, with nothing deleted, where there are more than `limit`. See Note [All or some].
    Rows of a unique field need not be counted first.
    """
    prepared = as_array(require_keys(keys))
    gone, counts = (
        f"gone AS ({delete_of_keys(field, using)}",
        f"RETURNING {count_by} AS key) {PER_KEY}",
    )
    if field.unique and len(keys) <= limit:
        return Gone(dict(fetch(using, f"WITH {gone} {counts}", [prepared])))
    picked, params = _some(field, prepared, limit + 1, using, skip_locked=False)
    sql = (
        f"WITH few AS MATERIALIZED (SELECT count(*) AS number FROM ({picked}) AS picked),"
        f" {gone} AND (SELECT number FROM few) BETWEEN 1 AND %s {counts}"
        " UNION ALL SELECT NULL, number FROM few"
    )
    deleted_rows = Gone(dict(fetch(using, sql, [*params, prepared, limit])))
    number = deleted_rows.pop(None)
    deleted_rows.whole = deleted_rows.total() == number
    return None if number > limit else deleted_rows


def delete_all_returning(
    field: Field, keys: Sequence[Any], limit: int, using: str
) -> Deleted | None:
    """Delete all rows of `keys`; return which.

    Return None, with nothing deleted, where there are more than `limit`. See Note [All or some].
    """
    prepared = as_array(require_keys(keys))
    picked, params = _some(field, prepared, limit + 1, using, skip_locked=False)
    few = f"few AS MATERIALIZED (SELECT count(*) AS number FROM ({picked}) AS picked)"
    delete = f"{delete_of_keys(field, using)} AND (SELECT number FROM few) BETWEEN 1 AND %s"
    sql = (
        f"WITH {few}, {returning_pks(field, delete, using)}"
        " UNION ALL SELECT NULL, number, NULL FROM few"
    )
    *rows, (_, number, _) = fetch(using, sql, [*params, prepared, limit])
    return None if number > limit else deleted(field, rows, using, seen=number)


def returning_pks(field: Field, delete: str, using: str) -> str:
    """Return the end of a WITH that runs `delete` on rows `child`: `deleted` takes its rows."""
    key, pk = f"child.{names_of(field, using)['key']}", pk_of(field, using)
    gone = f"gone AS ({delete} RETURNING {key} AS key, {pk} AS pk)"
    return f"{gone} {pks_per_key(field, 'gone', using)}"


def pks_per_key(field: Field, gone: str, using: str) -> str:
    """Return the query for the rows of `gone` (key, pk) that `deleted` takes."""
    text = "::text" if _pk_kind(field, using) in EXACT else ""
    return f"SELECT key, count(*), array_agg(pk){text} FROM {gone} GROUP BY key"


def deleted(
    field: Field, rows: Sequence[tuple[Any, int, Any]], using: str, *, seen: int | None = None
) -> Deleted:
    """Return deleted rows: see `pks_per_key`. The statement has `seen` so many before."""
    kind = _pk_kind(field, using)
    numbers = Counter({key: number for key, number, _ in rows})
    pks: Sequence[Any]
    if kind in EXACT:
        pks = Unopened.joined(((texts, number) for _, number, texts in rows), kind)
    else:
        pks = [pk for _, _, group in rows for pk in group]

    @functools.cache
    def key_of() -> dict[Any, Any]:
        """The groups follow each other as their keys do."""
        keys = (key for key, number, _ in rows for _ in range(number))
        return dict(zip(pks, keys, strict=True))

    return Deleted(numbers, pks, lambda pk: key_of()[pk], whole=numbers.total() == seen)


def _pk_kind(field: Field, using: str) -> str:
    """Return the type of a primary key of one column; "" of a composite one."""
    pk_fields = field.model._meta.pk_fields
    return type_of(pk_fields[0], using) if len(pk_fields) == 1 else ""


def delete_some(
    field: Field, keys: Sequence[Any], limit: int, using: str, *, skip_locked: bool
) -> tuple[str, list[Any]]:
    """Return the statement that deletes at most `limit` rows of `keys`, and its parameters.

    See Note [The key is checked twice]. The second check compares with keys that the planner sees;
    with hidden ones, the server would compare each row with one key after the other. IS TRUE keeps
    it from using an index for that check, which might walk all rows of the keys.
    """
    names, prepared = names_of(field, using), as_array(require_keys(keys))
    picked, params = _some(field, prepared, limit, using, skip_locked=skip_locked)
    again = f"child.{names['key']} = ANY(%s::{type_of(field, using)}[])"
    sql = (
        f"DELETE FROM {names['table']} AS child WHERE child.ctid = ANY(ARRAY({picked}))"
        f" AND ({again}{extra_conditions(field, 'child', using)}) IS TRUE"
    )
    return sql, [*params, prepared]


def _some(
    field: Field, prepared: Any, limit: int, using: str, *, skip_locked: bool
) -> tuple[str, list[Any]]:
    """Return a query for the ctid of at most `limit` rows of the keys, and its parameters.

    Rows of a generic relation are sought key by key: for several keys at once, a planner may take
    the index of the content type and walk all of its rows.
    """
    if extra_conditions(field, "one", using):
        sql = f"SELECT found.row {_picked(field, using, skip_locked=skip_locked)}"
        return sql, [prepared, limit, limit]
    rows = (
        f"{names_of(field, using)['table']} AS one WHERE {holds_one_of_keys(field, 'one', using)}"
    )
    skipping = _skipping(skip_locked=skip_locked)
    return f"SELECT one.ctid FROM {rows} LIMIT %s{skipping}", [prepared, limit]


def change_rows(
    field: Field,
    keys: Sequence[Any],
    limit: int,
    statement: str,
    *params: Any,
    changed: str = "",
    using: str,
    skip_locked: bool,
) -> Gone:
    """Run `statement` on at most `limit` rows of `keys`; return the number for each key.

    Only rows count that meet the SQL condition `changed` afterwards.
    """
    sql, picked = change_of_picked(
        field, keys, limit, statement, using=using, skip_locked=skip_locked
    )
    sql += f" RETURNING picked.key, {changed or 'true'} AS changed)"
    sql += " SELECT key, count(*) FROM changed WHERE changed GROUP BY key"
    return Gone(dict(fetch(using, sql, [*picked, *params])))


def change_of_picked(
    field: Field, keys: Sequence[Any], limit: int, statement: str, *, using: str, skip_locked: bool
) -> tuple[str, list[Any]]:
    """Return SQL that runs `statement` on picked rows, up to its RETURNING, and its parameters.

    See Note [The key is checked twice].
    """
    key, rest = f"child.{names_of(field, using)['key']}", extra_conditions(field, "child", using)
    picked = _picked(field, using, skip_locked=skip_locked)
    sql = (
        f"WITH picked AS MATERIALIZED (SELECT found.row, wanted.key {picked}), "
        f"changed AS ({statement}"
        " WHERE child.ctid = ANY(ARRAY(SELECT row FROM picked))"
        f" AND child.ctid = picked.row AND {key} = picked.key{rest}"
    )
    return sql, [as_array(require_keys(keys)), limit, limit]


def _picked(field: Field, using: str, *, skip_locked: bool) -> str:
    """Return the rows to change, as a FROM clause. Parameters: the keys, and twice the limit."""
    names, kind = names_of(field, using), type_of(field, using)
    return (
        f"FROM unnest(%s::{kind}[]) AS wanted (key) CROSS JOIN LATERAL (SELECT one.ctid AS row"
        f" FROM {names['table']} AS one WHERE one.{names['key']} = wanted.key"
        f"{extra_conditions(field, 'one', using)} LIMIT %s{_skipping(skip_locked=skip_locked)})"
        " AS found LIMIT %s"
    )


def _skipping(*, skip_locked: bool) -> str:
    """Return the end of a query that picks rows to change."""
    return " FOR UPDATE SKIP LOCKED" if skip_locked else ""
