"""PostgreSQL's form of the statements: keys travel as one array, counts come back per key.

Note [One index seek per key]: `fk = ANY(keys)` may flip to a sequential scan when statistics are
stale or skewed (GitLab, merge request 235721), and so does `fk = key LIMIT 1` for a key that half
of the table holds: it reads the table from its start, over all the rows that were deleted. Steps
keep their transaction from that (`walk_indexes`). A look may have no transaction, so it asks for
what lies between the key and itself, in order, which nothing but an index has ready.

Note [All or some]: to pick rows one by one, so that a statement touches no more than its limit,
costs twice of what `DELETE … WHERE fk = ANY(keys)` does. So the rows are counted first, as far as
the limit, in the same statement and its snapshot, and only of more some are picked.

Note [One text]: whole numbers travel as one text that the server takes apart. A driver writes a
list element by element, which took a fifth of a worker's time.

Note [The key is checked twice]: rows are picked by `ctid`, and the outer statement repeats the
key's condition, so that a row which moved to another parent meanwhile is left alone.

`also` is the rest of a key's condition: of a generic relation, the content type.
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.models import BooleanField, F, Func, Q, Value

from ..columns import columns_of
from ..generic import condition
from ..relations import format_key, primary_key
from . import need

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from ..relations import Field, Model, Relation


#: Types of keys that a row holds as we write them: text may be equal to another text.
EXACT = {"smallint", "integer", "bigint", "uuid"}


def hidden(kind: str) -> str:
    """A parameter with many keys, for ANY, that planners don't look into.

    Of hundreds that they see, they think that reading a whole table costs less, and judge each.
    """
    return f"(SELECT %s::text)::{kind}[]"


#: The end of a statement whose rows that are `gone` are counted.
PER_KEY = "SELECT key, count(*) FROM gone GROUP BY key"
#: Ids of the log.
IDS = hidden("bigint")
#: Cascades that a claim holds at work, by their keys alone: for a state that an index knows, or
#: for a join, planners read all that is open. Parameters: ids, the claim.
HELD = f"WHERE cascade.id = ANY({IDS}) AND cascade.claim = %s AND cascade.state || '' = 'running'"
#: Of each, its `rows`. Parameter: a JSON object of all of them, by id.
ITS_ROWS = "%s::jsonb -> cascade.id::text"


class PostgreSQL:
    """See `Statements`."""

    def among(self, name: str, ids: Sequence[int]) -> Any:
        # One parameter: the ORM's list of hundreds takes longer to write than to answer.
        if not ids:
            return Q(pk__in=())  # the ORM knows that this is empty, and asks nobody
        before, after = IDS.split("%s")
        return Func(
            F(name),
            Value(_array(ids)),
            template=f"%(expressions)s{after})",
            arg_joiner=f" = ANY({before}",
            output_field=BooleanField(),
        )

    def insert_deletions(
        self, parent: Model, keys: Sequence[Any], targets: Sequence[Any], source: str, *, using: str
    ) -> list[str]:
        pk = primary_key(parent)
        names = _Names(using, table=parent._meta.db_table, key=pk.column)
        kind = type_of(pk, using)
        texts = [format_key(pk, key) for key in keys]
        packed = [None if target is None else json.dumps(target) for target in targets]
        alive = f"SELECT FROM {names['table']} AS alive WHERE alive.{names['key']} ="
        if len(keys) == 1:  # the usual request: planned in half the time
            values = f"%s, %s::jsonb, %s, 'recorded' WHERE NOT EXISTS ({alive} %s::{kind})"
            value = pk.get_db_prep_value(keys[0], connections[using])
            params = [*texts, *packed, source, value]
        else:
            values = (
                "gone.text, gone.target::jsonb, %s, 'recorded'"
                f" FROM unnest(%s::{kind}[], %s::text[], %s::text[]) AS gone (key, text, target)"
                f" WHERE NOT EXISTS ({alive} gone.key)"
            )
            known = packed if any(packed) else None
            params = [source, _prepared(pk, need(keys), using), texts, known]
        rows = _fetch(
            using,
            "INSERT INTO integrity_deletion (parent, key, targets, source, state)"
            f" SELECT %s, {values} RETURNING key",
            [parent._meta.label, *params],
        )
        return [key for (key,) in rows]

    def triggered_deletions(self, parent: Model, keys: Sequence[str], *, using: str) -> set[str]:
        # A trigger logs at the time of a statement, never before its transaction began.
        rows = _fetch(
            using,
            "SELECT key FROM integrity_deletion WHERE parent = %s AND key = ANY(%s)"
            " AND source = 'trigger' AND recorded_at >= transaction_timestamp()",
            [parent._meta.label, list(need(keys))],
        )
        return {key for (key,) in rows}

    def insert_suspects(
        self,
        relation: Relation,
        keys: Sequence[str],
        *,
        target: str | None,
        fence: Mapping[str, int],
        using: str,
    ) -> None:
        value = "missing.key, NULL::jsonb"
        if target is not None:
            value = "NULL, jsonb_build_object(%s::text, missing.key)"
        with connections[using].cursor() as cursor:
            cursor.execute(
                "INSERT INTO integrity_deletion"
                " (key, targets, parent, relation, fence, source, state)"
                f" SELECT {value}, %s, %s, %s::jsonb, 'scan', 'suspect'"
                " FROM unnest(%s::text[]) AS missing (key)",
                [
                    *([] if target is None else [target]),
                    relation.parent._meta.label,
                    relation.label,
                    json.dumps(dict(fence)),
                    list(need(keys)),
                ],
            )

    def insert_cascades(
        self, deletions: Sequence[int], databases: Sequence[str], *, using: str
    ) -> None:
        with connections[using].cursor() as cursor:
            cursor.execute(
                "INSERT INTO integrity_cascade (deletion_id, database, recorded_at)"
                " SELECT deletion.id, database, deletion.recorded_at"
                " FROM integrity_deletion AS deletion CROSS JOIN unnest(%s::text[]) AS database"
                f" WHERE deletion.id = ANY({IDS}) ORDER BY deletion.id"
                " ON CONFLICT (deletion_id, database) DO NOTHING",
                [list(databases), _array(need(deletions))],
            )

    def finish_cascades(
        self,
        claim: UUID,
        rows: Mapping[int, Mapping[str, int]],
        *,
        barrier: int | None,
        grace_seconds: float,
        using: str,
    ) -> list[int]:
        finished = _fetch(
            using,
            "UPDATE integrity_cascade AS cascade SET state = 'done', claim = NULL, reason = '',"
            f" done_at = statement_timestamp(), rows = {ITS_ROWS}, barrier = %s,"
            f" due_at = statement_timestamp() + %s * interval '1 second' {HELD}"
            " RETURNING cascade.deletion_id",
            [json.dumps(rows), barrier, grace_seconds, _array(need(list(rows))), claim],
        )
        return [deletion for (deletion,) in finished]

    def keep_rows(self, claim: UUID, rows: Mapping[int, Mapping[str, int]], *, using: str) -> None:
        with connections[using].cursor() as cursor:
            cursor.execute(
                f"UPDATE integrity_cascade AS cascade SET rows = {ITS_ROWS} {HELD}",
                [json.dumps(rows), _array(need(list(rows))), claim],
            )

    def lock_rows(
        self, field: Field, keys: Sequence[Any], limit: int, *, using: str
    ) -> dict[Any, Any]:
        pk = primary_key(field.model)
        names = _Names(using, table=field.model._meta.db_table, key=field.column, pk=pk.column)
        sql = (
            "SELECT found.pk, wanted.key"
            f" FROM unnest(%s::{type_of(field, using)}[]) AS wanted (key)"
            f" CROSS JOIN LATERAL (SELECT child.{names['pk']} AS pk"
            f" FROM {names['table']} AS child {_sought(field, using)} LIMIT %s"
            " FOR UPDATE SKIP LOCKED) AS found LIMIT %s"
        )
        return dict(_fetch(using, sql, [_prepared(field, need(keys), using), limit, limit]))

    def walk_indexes(self, *, using: str) -> None:
        with connections[using].cursor() as cursor:
            cursor.execute(
                "SELECT set_config('enable_seqscan', 'off', true),"
                " set_config('enable_bitmapscan', 'off', true)"
            )

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
        return Counter(dict(_fetch(using, sql, params)))

    def delete_number(
        self, field: Field, keys: Sequence[Any], limit: int, *, using: str, patient: bool
    ) -> int:
        if type_of(field, using) not in EXACT:
            return self.delete_rows(field, keys, limit, using=using, patient=patient).total()
        found = None
        if patient and len(keys) > 1:  # one alone that has rows may have very many
            found = _delete_all(field, keys, limit, "0", using)
        if found is not None:
            return found.total()
        with connections[using].cursor() as cursor:
            cursor.execute(*_delete_some(field, keys, limit, using, patient=patient))
            return int(cursor.rowcount)

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
        return _change(field, keys, limit, update, *values, using=using, patient=patient)

    def keys_with_rows(self, field: Field, keys: Sequence[Any], *, using: str) -> set[Any]:
        names = names_of(field, using)
        found = _fetch(
            using,
            f"SELECT wanted.key FROM unnest(%s::{type_of(field, using)}[]) AS wanted (key)"
            f" CROSS JOIN LATERAL (SELECT 1 FROM {names['table']} AS child"
            f" {_sought(field, using)} LIMIT 1) AS present",
            [_prepared(field, need(keys), using)],
        )
        return {key for (key,) in found}

    def count_rows(self, field: Field, keys: Sequence[Any], *, using: str) -> int:
        names = names_of(field, using)
        ((number,),) = _fetch(
            using,
            f"SELECT count(*) FROM unnest(%s::{type_of(field, using)}[]) AS wanted (key)"
            f" CROSS JOIN LATERAL (SELECT 1 FROM {names['table']} AS child"
            f" WHERE child.{names['key']} = wanted.key{also(field, 'child', using)} OFFSET 0)"
            " AS present",
            [_prepared(field, need(keys), using)],
        )
        return int(number)

    def estimate_rows(self, model: Model, *, using: str) -> int:
        table = connections[using].ops.quote_name(model._meta.db_table)
        ((number,),) = _fetch(
            using,
            "SELECT coalesce(sum(greatest(reltuples, 0)), 0)::bigint FROM pg_class"
            " WHERE oid = to_regclass(%s)",
            [table],
        )
        return int(number)

    def oldest_transaction(self, *, using: str) -> int | None:
        ((oldest,),) = _fetch(
            using, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint", []
        )
        return int(oldest)

    def next_transaction(self, *, using: str) -> int | None:
        ((own,),) = _fetch(using, "SELECT pg_current_xact_id()::text::bigint", [])
        return int(own)


class _Names(dict[str, str]):
    """Names of tables and columns, quoted by the backend and safe beside parameters."""

    def __init__(self, using: str, **names: str | None) -> None:
        quote = connections[using].ops.quote_name
        super().__init__(
            {each: quote(str(name)).replace("%", "%%") for each, name in names.items()}
        )


def names_of(field: Field, using: str) -> _Names:
    """The quoted names of a field's `table` and column (`key`)."""
    return _Names(using, table=field.model._meta.db_table, key=field.column)


def also(field: Field, row: str, using: str) -> str:
    """What else `row` must hold to refer through `field`, after the condition on its key."""
    return "".join(
        f" AND {row}.{names_of(column, using)['key']} = {int(held)}"
        for column, held in condition(field).items()
    )


def _sought(field: Field, using: str) -> str:
    """The rows of `wanted.key`, as the index has them. See Note [One index seek per key]."""
    key, rest = f"child.{names_of(field, using)['key']}", also(field, "child", using)
    if field.unique:
        return f"WHERE {key} = wanted.key{rest}"
    return f"WHERE {key} BETWEEN wanted.key AND wanted.key{rest} ORDER BY {key}"


def _of_keys(field: Field, row: str, using: str) -> str:
    """The condition that `row` holds one of the keys: one parameter, see Note [One text]."""
    key = f"{row}.{names_of(field, using)['key']}"
    return f"{key} = ANY({hidden(type_of(field, using))}){also(field, row, using)}"


def _delete_all(
    field: Field, keys: Sequence[Any], limit: int, by: str, using: str
) -> Counter[Any] | None:
    """Delete the rows of `keys`; None, and nothing deleted, where they are more than `limit`.

    Counts them for each value of `by`. See Note [All or some]. A unique field needs no counting
    before.
    """
    table, prepared = names_of(field, using)["table"], _prepared(field, need(keys), using)
    gone = f"gone AS (DELETE FROM {table} AS child WHERE {_of_keys(field, 'child', using)}"
    counts = f"RETURNING {by} AS key) {PER_KEY}"
    if field.unique and len(keys) <= limit:
        return Counter(dict(_fetch(using, f"WITH {gone} {counts}", [prepared])))
    sql = (
        "WITH few AS MATERIALIZED (SELECT count(*) AS number FROM (SELECT"
        f" FROM {table} AS one WHERE {_of_keys(field, 'one', using)} LIMIT %s) AS picked),"
        f" {gone} AND (SELECT number FROM few) BETWEEN 1 AND %s {counts}"
        " UNION ALL SELECT NULL, number FROM few WHERE number > %s"
    )
    found = dict(_fetch(using, sql, [prepared, limit + 1, prepared, limit, limit]))
    return None if None in found else Counter(found)


def _delete_some(
    field: Field, keys: Sequence[Any], limit: int, using: str, *, patient: bool
) -> tuple[str, list[Any]]:
    """The statement that deletes at most `limit` rows of `keys`, and its parameters.

    See Note [The key is checked twice]: the second time against keys that the server sees, or it
    would compare each row with one after the other.
    """
    names, prepared = names_of(field, using), _prepared(field, need(keys), using)
    again = f"child.{names['key']} = ANY(%s::{type_of(field, using)}[])"
    sql = (
        f"DELETE FROM {names['table']} AS child WHERE child.ctid = ANY(ARRAY(SELECT one.ctid"
        f" FROM {names['table']} AS one WHERE {_of_keys(field, 'one', using)}"
        f" LIMIT %s{_skipping(patient=patient)})) AND {again}{also(field, 'child', using)}"
    )
    return sql, [prepared, limit, prepared]


def _change(
    field: Field,
    keys: Sequence[Any],
    limit: int,
    change: str,
    *params: Any,
    using: str,
    patient: bool,
) -> Counter[Any]:
    """Run `change` on at most `limit` rows of `keys`; see both Notes above."""
    names = names_of(field, using)
    picked = _picked(field, type_of(field, using), using, patient=patient)
    sql = (
        f"WITH picked AS MATERIALIZED (SELECT found.row, wanted.key {picked}), changed AS ({change}"
        " WHERE child.ctid = ANY(ARRAY(SELECT row FROM picked))"
        f" AND child.ctid = picked.row AND child.{names['key']} = picked.key"
        f"{also(field, 'child', using)} RETURNING picked.key)"
        " SELECT key, count(*) FROM changed GROUP BY key"
    )
    prepared = _prepared(field, need(keys), using)
    return Counter(dict(_fetch(using, sql, [prepared, limit, limit, *params])))


def _picked(field: Field, kind: str, using: str, *, patient: bool) -> str:
    """The rows to change; its parameters are the keys, and twice the limit."""
    names = names_of(field, using)
    return (
        f"FROM unnest(%s::{kind}[]) AS wanted (key) CROSS JOIN LATERAL (SELECT one.ctid AS row"
        f" FROM {names['table']} AS one WHERE one.{names['key']} = wanted.key"
        f"{also(field, 'one', using)} LIMIT %s{_skipping(patient=patient)})"
        " AS found LIMIT %s"
    )


def _skipping(*, patient: bool) -> str:
    return "" if patient else " FOR UPDATE SKIP LOCKED"


def _fetch(using: str, sql: str, params: list[Any]) -> list[tuple[Any, ...]]:
    with connections[using].cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


@functools.lru_cache(maxsize=1_024)
def type_of(field: Field, using: str) -> str:
    """The key's type, without a length: a cast to one would cut a longer value to a wrong key."""
    plain = re.sub(r"\(.*\)", "", str(field.rel_db_type(connections[using]))).replace("%", "%%")
    return {"char": "bpchar", "bit": "varbit"}.get(plain, plain)


def _prepared(field: Field, values: Sequence[Any], using: str) -> str | list[Any]:
    """The values as one parameter, for a cast to an array."""
    if {*map(type, values)} == {int}:  # no field changes those, and there are many
        return _array(values)
    connection = connections[using]
    return [field.get_db_prep_value(value, connection) for value in values]


def _array(numbers: Sequence[int]) -> str:
    """Whole numbers as the text of an array. See Note [One text]."""
    return f"{{{','.join(map(str, numbers))}}}"
