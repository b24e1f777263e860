"""PostgreSQL's statements on rows of the project: keys travel as one array, counts come per key.

Note [One index seek per key]: `fk = ANY(keys)` may flip to a sequential scan when statistics are
stale or skewed (GitLab, merge request 235721), and so does `fk = key LIMIT 1` for a key that half
of the table holds: it reads the table from its start, over all the rows that were deleted. Steps
keep their transaction from that (`begin_step`). A look may have no transaction, so it asks for
what lies between the key and itself, in order, which nothing but an index has ready; of parents,
whose keys have one row each, for those keys (`hidden`).

Note [All or some]: to pick rows one by one, so that a statement touches no more than its limit,
costs twice of what `DELETE … WHERE fk = ANY(keys)` does. So the rows are counted first, as far as
the limit, in the same statement and its snapshot, and only of more some are picked.

Note [The key is checked twice]: rows are picked by `ctid`, and the outer statement repeats the
key's condition, so that a row which moved to another parent meanwhile is left alone.

`also` is the rest of a key's condition: of a generic relation, the content type.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from django.db import connections

from ...exceptions import InvalidKey
from ...relations.columns import columns_of
from ...relations.relation import label
from .. import visibility
from ..base import need
from .constraints import deferred_constraints
from .sql import EXACT, Names, also, as_array, fetch, hidden, names_of, type_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...relations import Field

#: The end of a statement whose rows that are `gone` are counted.
PER_KEY = "SELECT key, count(*) FROM gone GROUP BY key"


class Rows:
    """Their part of `Statements`."""

    def lock_rows(
        self, field: Field, keys: Sequence[Any], limit: int, *, using: str
    ) -> dict[Any, Any]:
        kind, table = type_of(field, using), names_of(field, using)["table"]
        rows = f"SELECT {_pk_of(field, using)} AS pk FROM {table} AS child"
        lock = " LIMIT %s FOR UPDATE OF child SKIP LOCKED"
        if len(keys) == 1 and kind in EXACT:  # it may have very many rows
            # Twice SELECT: else planners see the key, and judge by what they last knew of it.
            wanted = f"(SELECT (SELECT %s::{kind}) AS key) AS wanted"
            sql = f"{rows}, {wanted} {_sought(field, using)}{lock}"
            return dict.fromkeys((row for (row,) in fetch(using, sql, [keys[0], limit])), keys[0])
        sql = (
            f"SELECT found.pk, wanted.key FROM unnest(%s::{kind}[]) AS wanted (key)"
            f" CROSS JOIN LATERAL ({rows} {_sought(field, using)}{lock}) AS found LIMIT %s"
        )
        return dict(fetch(using, sql, [as_array(need(keys)), limit, limit]))

    def take_rows(
        self, field: Field, keys: Sequence[Any], limit: int, *, using: str
    ) -> dict[Any, Any]:
        kind, table = type_of(field, using), names_of(field, using)["table"]
        pk, key = _pk_of(field, using), f"child.{names_of(field, using)['key']}"
        if kind not in EXACT:
            delete = f"DELETE FROM {table} AS child USING picked"
            sql, params = _picking(field, keys, limit, delete, using=using, patient=True)
            sql += f" RETURNING {pk} AS pk, picked.key) SELECT pk, key FROM changed"
            return dict(fetch(using, sql, params))
        if len(keys) > 1:
            found = _take_all(field, keys, limit, f"{pk}, {key}", using)
            if found is not None:
                return found
        sql, params = _delete_some(field, keys, limit, using, patient=True)
        return dict(fetch(using, f"{sql} RETURNING {pk}, {key}", params))

    def goes_first(self, leaf: Field, *, using: str) -> bool:
        return all(deferred_constraints(leaf, using))

    def is_constrained(self, leaf: Field, *, using: str) -> bool:
        return bool(deferred_constraints(leaf, using))

    def begin_step(self, *, lock_seconds: float, using: str) -> None:
        with connections[using].cursor() as cursor:
            cursor.execute(
                "SELECT set_config('enable_seqscan', 'off', true),"
                " set_config('enable_bitmapscan', 'off', true),"
                " set_config('row_security', 'off', true), set_config('lock_timeout', %s, true)",
                [f"{max(1, round(lock_seconds * 1000))}ms"],
            )

    def end_step_reads(self, *, using: str) -> None:
        with connections[using].cursor() as cursor:
            cursor.execute("SET LOCAL row_security TO DEFAULT")

    def delete_rows(
        self, field: Field, keys: Sequence[Any], limit: int, *, using: str, patient: bool
    ) -> Counter[Any]:
        kind = type_of(field, using)
        if kind not in EXACT:
            delete = f"DELETE FROM {names_of(field, using)['table']} AS child USING picked"
            return _change(field, keys, limit, delete, using=using, patient=patient)
        if len(keys) == 1:
            number = self.delete_number(field, keys, limit, using=using, patient=patient)
            return Counter({keys[0]: number} if number else {})
        key = f"child.{names_of(field, using)['key']}"
        found = _delete_all(field, keys, limit, key, using) if patient else None
        if found is not None:
            return found
        some, params = _delete_some(field, keys, limit, using, patient=patient)
        sql = f"WITH gone AS ({some} RETURNING {key} AS key) {PER_KEY}"
        return Counter(dict(fetch(using, sql, params)))

    def delete_number(
        self, field: Field, keys: Sequence[Any], limit: int, *, using: str, patient: bool
    ) -> int:
        if type_of(field, using) not in EXACT:
            return self.delete_rows(field, keys, limit, using=using, patient=patient).total()
        if patient and field.unique and len(keys) <= limit:
            return _number(_delete(field, using), [as_array(need(keys))], using)
        found = None
        if patient and len(keys) > 1:  # one alone that has rows may have very many
            found = _delete_all(field, keys, limit, "0", using)
        if found is not None:
            return found.total()
        return _number(*_delete_some(field, keys, limit, using, patient=patient), using)

    def update_rows(
        self,
        field: Field,
        keys: Sequence[Any],
        value: Any,
        limit: int,
        *,
        using: str,
        patient: bool,
    ) -> Counter[Any]:
        columns = columns_of(field)
        put = ", ".join(f"{names_of(each, using)['key']} = %s" for each in columns)
        update = f"UPDATE {names_of(field, using)['table']} AS child SET {put} FROM picked"
        values = [each.get_db_prep_value(value, connections[using]) for each in columns]
        changed = f"child.{names_of(field, using)['key']} IS DISTINCT FROM picked.key"
        return _change(
            field, keys, limit, update, *values, changed=changed, using=using, patient=patient
        )

    def keys_with_rows(self, field: Field, keys: Sequence[Any], *, using: str) -> set[Any]:
        names, kind = names_of(field, using), type_of(field, using)
        if field.unique and kind in EXACT:
            one = f"{names['table']} AS one WHERE {_of_keys(field, 'one', using)}"
            sql = f"SELECT one.{names['key']} FROM {one}"
        else:
            sql = (
                f"SELECT wanted.key FROM unnest(%s::{kind}[]) AS wanted (key)"
                f" CROSS JOIN LATERAL (SELECT 1 FROM {names['table']} AS child"
                f" {_sought(field, using)} LIMIT 1) AS present"
            )
        guard, table = visibility.guard(field.model, using)
        found = fetch(using, f"{sql}{guard}", [as_array(need(keys)), table])
        values, wanted = [key for (key,) in found], {*keys}
        held = {*visibility.without_guard(values, field.model, using, every=len(wanted))}
        if not held <= wanted:  # what is there would look gone
            raise InvalidKey(
                f"{label(field)}: the server returns keys in another form than the field's"
                " get_db_prep_value() makes of them. Nothing was concluded from that"
            )
        return held

    def count_rows(self, field: Field, keys: Sequence[Any], *, using: str) -> int:
        names = names_of(field, using)
        guard, table = visibility.guard(field.model, using)
        number, *hidden = fetch(
            using,
            f"SELECT count(*) FROM unnest(%s::{type_of(field, using)}[]) AS wanted (key)"
            f" CROSS JOIN LATERAL (SELECT 1 FROM {names['table']} AS child"
            f" WHERE child.{names['key']} = wanted.key{also(field, 'child', using)} OFFSET 0)"
            f" AS present{guard}",
            [as_array(need(keys)), table],
        )
        if hidden:
            raise visibility.refusal(field.model, using)
        return int(number[0])

    def count_by_key(
        self, field: Field, keys: Sequence[Any], most: int, *, using: str
    ) -> dict[Any, int]:
        names, kind = names_of(field, using), type_of(field, using)
        found = fetch(
            using,
            f"SELECT wanted.key, count(*) FROM unnest(%s::{kind}[]) AS wanted (key)"
            f" CROSS JOIN LATERAL (SELECT 1 FROM {names['table']} AS child"
            f" {_sought(field, using)} LIMIT {most:d}) AS present GROUP BY wanted.key",
            [as_array(need(keys))],
        )
        return dict(found)


def _pk_of(field: Field, using: str) -> str:
    """The primary key of a row `child`; of a composite one, a record of its columns."""
    columns = Names(using, **{each.name: each.column for each in field.model._meta.pk_fields})
    found = [f"child.{column}" for column in columns.values()]
    return found[0] if len(found) == 1 else f"ROW({', '.join(found)})"


def _sought(field: Field, using: str) -> str:
    """The rows of `wanted.key`, as the index has them. See Note [One index seek per key]."""
    key, rest = f"child.{names_of(field, using)['key']}", also(field, "child", using)
    if field.unique:
        return f"WHERE {key} = wanted.key{rest}"
    return f"WHERE {key} BETWEEN wanted.key AND wanted.key{rest} ORDER BY {key}"


def _of_keys(field: Field, row: str, using: str) -> str:
    """The condition that `row` holds one of the keys, which are its parameter (sql.py)."""
    key = f"{row}.{names_of(field, using)['key']}"
    return f"{key} = ANY({hidden(type_of(field, using))}){also(field, row, using)}"


def _delete(field: Field, using: str) -> str:
    """The statement that deletes all rows of keys, which are its parameter."""
    table = names_of(field, using)["table"]
    return f"DELETE FROM {table} AS child WHERE {_of_keys(field, 'child', using)}"


def _number(sql: str, params: list[Any], using: str) -> int:
    """How many rows a statement changes."""
    with connections[using].cursor() as cursor:
        cursor.execute(sql, params)
        return int(cursor.rowcount)


def _delete_all(
    field: Field, keys: Sequence[Any], limit: int, by: str, using: str
) -> Counter[Any] | None:
    """Delete the rows of `keys`; None, and nothing deleted, where they are more than `limit`.

    Counts them for each value of `by`. See Note [All or some]. A unique field needs no counting
    before.
    """
    prepared = as_array(need(keys))
    gone, counts = f"gone AS ({_delete(field, using)}", f"RETURNING {by} AS key) {PER_KEY}"
    if field.unique and len(keys) <= limit:
        return Counter(dict(fetch(using, f"WITH {gone} {counts}", [prepared])))
    picked, params = _some(field, prepared, limit + 1, using, patient=True)
    sql = (
        f"WITH few AS MATERIALIZED (SELECT count(*) AS number FROM ({picked}) AS picked),"
        f" {gone} AND (SELECT number FROM few) BETWEEN 1 AND %s {counts}"
        " UNION ALL SELECT NULL, number FROM few WHERE number > %s"
    )
    found = dict(fetch(using, sql, [*params, prepared, limit, limit]))
    return None if None in found else Counter(found)


def _take_all(
    field: Field, keys: Sequence[Any], limit: int, returning: str, using: str
) -> dict[Any, Any] | None:
    """Delete the rows of `keys`; None, and nothing deleted, where they are more than `limit`.

    Return primary key → key. See Note [All or some].
    """
    prepared = as_array(need(keys))
    picked, params = _some(field, prepared, limit + 1, using, patient=True)
    sql = (
        f"WITH few AS MATERIALIZED (SELECT count(*) AS number FROM ({picked}) AS picked),"
        f" gone AS ({_delete(field, using)} AND (SELECT number FROM few) BETWEEN 1 AND %s"
        f" RETURNING {returning})"
        " SELECT * FROM gone UNION ALL SELECT NULL, NULL FROM few WHERE number > %s"
    )
    found = dict(fetch(using, sql, [*params, prepared, limit, limit]))
    return None if None in found else found


def _delete_some(
    field: Field, keys: Sequence[Any], limit: int, using: str, *, patient: bool
) -> tuple[str, list[Any]]:
    """The statement that deletes at most `limit` rows of `keys`, and its parameters.

    See Note [The key is checked twice]: the second time against keys that the server sees, or it
    would compare each row with one after the other; and no index serves what IS TRUE, or it might
    walk all rows of the keys to find those picked.
    """
    names, prepared = names_of(field, using), as_array(need(keys))
    picked, params = _some(field, prepared, limit, using, patient=patient)
    again = f"child.{names['key']} = ANY(%s::{type_of(field, using)}[])"
    sql = (
        f"DELETE FROM {names['table']} AS child WHERE child.ctid = ANY(ARRAY({picked}))"
        f" AND ({again}{also(field, 'child', using)}) IS TRUE"
    )
    return sql, [*params, prepared]


def _some(
    field: Field, prepared: Any, limit: int, using: str, *, patient: bool
) -> tuple[str, list[Any]]:
    """The rows of keys, at most `limit`, by their ctid; and the parameters.

    Of a generic relation key by key: for several at once, planners may take the index of the
    content type, and walk all rows of it.
    """
    if also(field, "one", using):
        sql = f"SELECT found.row {_picked(field, using, patient=patient)}"
        return sql, [prepared, limit, limit]
    table, skipping = names_of(field, using)["table"], _skipping(patient=patient)
    sql = f"SELECT one.ctid FROM {table} AS one WHERE {_of_keys(field, 'one', using)} LIMIT %s"
    return f"{sql}{skipping}", [prepared, limit]


def _change(
    field: Field,
    keys: Sequence[Any],
    limit: int,
    change: str,
    *params: Any,
    changed: str = "",
    using: str,
    patient: bool,
) -> Counter[Any]:
    """Run `change` on at most `limit` rows of `keys`; return the number for each key.

    Only rows of which `changed` is true afterwards count.
    """
    sql, before = _picking(field, keys, limit, change, using=using, patient=patient)
    sql += f" RETURNING picked.key, {changed or 'true'} AS changed)"
    sql += " SELECT key, count(*) FROM changed WHERE changed GROUP BY key"
    return Counter(dict(fetch(using, sql, [*before, *params])))


def _picking(
    field: Field, keys: Sequence[Any], limit: int, change: str, *, using: str, patient: bool
) -> tuple[str, list[Any]]:
    """The beginning of a statement that runs `change`, and its parameters so far.

    See Note [The key is checked twice].
    """
    key = f"child.{names_of(field, using)['key']}"
    picked = _picked(field, using, patient=patient)
    sql = (
        f"WITH picked AS MATERIALIZED (SELECT found.row, wanted.key {picked}), changed AS ({change}"
        " WHERE child.ctid = ANY(ARRAY(SELECT row FROM picked))"
        f" AND child.ctid = picked.row AND {key} = picked.key{also(field, 'child', using)}"
    )
    return sql, [as_array(need(keys)), limit, limit]


def _picked(field: Field, using: str, *, patient: bool) -> str:
    """The rows to change; its parameters are the keys, and twice the limit."""
    names, kind = names_of(field, using), type_of(field, using)
    return (
        f"FROM unnest(%s::{kind}[]) AS wanted (key) CROSS JOIN LATERAL (SELECT one.ctid AS row"
        f" FROM {names['table']} AS one WHERE one.{names['key']} = wanted.key"
        f"{also(field, 'one', using)} LIMIT %s{_skipping(patient=patient)})"
        " AS found LIMIT %s"
    )


def _skipping(*, patient: bool) -> str:
    return "" if patient else " FOR UPDATE SKIP LOCKED"
