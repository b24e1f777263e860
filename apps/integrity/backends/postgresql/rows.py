"""PostgreSQL's statements on rows of the project: keys travel as one array, counts come per key.

Note [One index seek per key]: when statistics are stale or skewed, the planner may choose a
sequential scan for `fk = ANY(keys)` (GitLab, merge request 235721). It does so for
`fk = key LIMIT 1`, too, where half of the table holds the key; the scan then passes all the rows
that were deleted before it finds one. A step forbids that for its transaction (`begin_step`).
Other reads may have no transaction. They ask for `fk BETWEEN key AND key ORDER BY fk`, which only
an index can serve; for parents, whose keys are unique, they hide the keys from the planner
(`hidden` in sql.py).

Note [All or some]: a DELETE that picks rows one by one, to stay within its limit, costs twice as
much as `DELETE … WHERE fk = ANY(keys)`. So the statement first counts the rows, up to the limit and
in the same snapshot. Only where there are more does a second statement pick some of them.

Note [The key is checked twice]: rows are picked by `ctid`, and the outer statement repeats the
condition on the key. So a row that has moved to another parent meanwhile is left alone.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from django.db import NotSupportedError, connections

from ...exceptions import InvalidKey
from ...relations.columns import columns_of
from ...relations.relation import label
from .. import visibility
from ..base import require_keys
from ..deleted import Gone
from ..quoted import extra_conditions, names_of
from .blocks import delete_in_blocks, dense_blocks
from .constraints import deferred_constraints
from .row_sql import (
    PER_KEY,
    change_of_picked,
    change_rows,
    delete_all,
    delete_all_returning,
    delete_of_keys,
    delete_some,
    deleted,
    execute_and_count,
    holds_one_of_keys,
    pk_of,
    pks_per_key,
    returning_pks,
    rows_of_wanted_key,
)
from .sql import EXACT, as_array, fetch, type_of

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from ...relations import Field, Model
    from ..deleted import Deleted, Dense

#: The number of rows of a table, by the server's statistics.
_ESTIMATE = (
    "coalesce(sum(greatest(reltuples, 0)), 0)::bigint FROM pg_class WHERE oid = to_regclass(%s)"
)


class PostgreSQLRows:
    """See `RowBackend`."""

    locks_in_blocks = False

    def lock_rows(
        self, field: Field, keys: Sequence[Any], limit: int, *, using: str
    ) -> dict[Any, Any]:
        kind, table = type_of(field, using), names_of(field, using)["table"]
        rows = f"SELECT {pk_of(field, using)} AS pk FROM {table} AS child"
        lock = " LIMIT %s FOR UPDATE OF child SKIP LOCKED"
        if len(keys) == 1 and kind in EXACT:  # a single key may have very many rows
            # SELECT twice: else the planner sees the key, and judges by old statistics of it.
            wanted = f"(SELECT (SELECT %s::{kind}) AS key) AS wanted"
            sql = f"{rows}, {wanted} {rows_of_wanted_key(field, using)}{lock}"
            return dict.fromkeys((row for (row,) in fetch(using, sql, [keys[0], limit])), keys[0])
        wanted_rows = rows_of_wanted_key(field, using)
        sql = (
            f"SELECT found.pk, wanted.key FROM unnest(%s::{kind}[]) AS wanted (key)"
            f" CROSS JOIN LATERAL ({rows} {wanted_rows}{lock}) AS found LIMIT %s"
        )
        return dict(fetch(using, sql, [as_array(require_keys(keys)), limit, limit]))

    def delete_returning_keys(
        self, field: Field, keys: Sequence[Any], limit: int, *, using: str
    ) -> Deleted:
        if type_of(field, using) not in EXACT:
            delete = f"DELETE FROM {names_of(field, using)['table']} AS child USING picked"
            sql, params = change_of_picked(
                field, keys, limit, delete, using=using, skip_locked=False
            )
            sql += f" RETURNING picked.key, {pk_of(field, using)} AS pk)"
            sql += f" {pks_per_key(field, 'changed', using)}"
            return deleted(field, fetch(using, sql, params), using)
        if len(keys) > 1:
            everything = delete_all_returning(field, keys, limit, using)
            if everything is not None:
                return everything
        some, params = delete_some(field, keys, limit, using, skip_locked=False)
        return deleted(
            field, fetch(using, f"WITH {returning_pks(field, some, using)}", params), using
        )

    def dense_blocks(self, field: Field, key: Any, *, using: str) -> Dense | None:
        return dense_blocks(field, key, using)

    def delete_in_blocks(
        self, field: Field, key: Any, blocks: range, limit: int, *, pks: bool, using: str
    ) -> Deleted | None:
        return delete_in_blocks(field, key, blocks, limit, pks=pks, using=using)

    def lock_in_blocks(
        self,
        field: Field,  # noqa: ARG002 (the protocol's)
        key: Any,  # noqa: ARG002 (the protocol's)
        blocks: range,  # noqa: ARG002 (the protocol's)
        limit: int,  # noqa: ARG002 (the protocol's)
        *,
        using: str,
    ) -> dict[Any, Any]:
        raise NotSupportedError(f"{using}: rows are locked by an index")

    def can_delete_before(self, leaf: Field, *, using: str) -> bool:
        return all(deferred_constraints(leaf, using))

    def is_constrained(self, leaf: Field, *, using: str) -> bool:
        return bool(deferred_constraints(leaf, using))

    def own_session(self, *, using: str) -> AbstractContextManager[None]:  # noqa: ARG002 (as above)
        return nullcontext()  # it sets nothing beyond the transaction

    def begin_step(self, *, lock_seconds: float, using: str) -> None:
        with connections[using].cursor() as cursor:
            cursor.execute(
                "SELECT set_config('enable_seqscan', 'off', true),"
                " set_config('enable_bitmapscan', 'off', true),"
                " set_config('row_security', 'off', true), set_config('lock_timeout', %s, true)",
                [f"{max(1, round(lock_seconds * 1000))}ms"],
            )

    def require_current(self, model: Model, *, using: str) -> None:
        pass  # each statement sees what was committed, or a lock fails

    def restore_row_security(self, *, using: str) -> None:
        with connections[using].cursor() as cursor:
            cursor.execute("SET LOCAL row_security TO DEFAULT")

    def delete_rows(
        self, field: Field, keys: Sequence[Any], limit: int, *, using: str, skip_locked: bool
    ) -> Gone:
        kind = type_of(field, using)
        if kind not in EXACT:
            delete = f"DELETE FROM {names_of(field, using)['table']} AS child USING picked"
            return change_rows(field, keys, limit, delete, using=using, skip_locked=skip_locked)
        if len(keys) == 1:
            number = self.delete_total(field, keys, limit, using=using, skip_locked=skip_locked)
            return Gone({keys[0]: number} if number else {})
        key = f"child.{names_of(field, using)['key']}"
        counts = None if skip_locked else delete_all(field, keys, limit, key, using)
        if counts is not None:
            return counts
        some, params = delete_some(field, keys, limit, using, skip_locked=skip_locked)
        sql = f"WITH gone AS ({some} RETURNING {key} AS key) {PER_KEY}"
        return Gone(dict(fetch(using, sql, params)))

    def delete_total(
        self, field: Field, keys: Sequence[Any], limit: int, *, using: str, skip_locked: bool
    ) -> int:
        if type_of(field, using) not in EXACT:
            return self.delete_rows(
                field, keys, limit, using=using, skip_locked=skip_locked
            ).total()
        if not skip_locked and field.unique and len(keys) <= limit:
            return execute_and_count(
                delete_of_keys(field, using), [as_array(require_keys(keys))], using
            )
        counts = None
        if not skip_locked and len(keys) > 1:  # a single key may have very many rows
            counts = delete_all(field, keys, limit, "0", using)
        if counts is not None:
            return counts.total()
        return execute_and_count(
            *delete_some(field, keys, limit, using, skip_locked=skip_locked), using
        )

    def update_rows(
        self,
        field: Field,
        keys: Sequence[Any],
        value: Any,
        limit: int,
        *,
        using: str,
        skip_locked: bool,
    ) -> Counter[Any]:
        columns = columns_of(field)
        put = ", ".join(f"{names_of(column, using)['key']} = %s" for column in columns)
        update = f"UPDATE {names_of(field, using)['table']} AS child SET {put} FROM picked"
        values = [column.get_db_prep_value(value, connections[using]) for column in columns]
        changed = f"child.{names_of(field, using)['key']} IS DISTINCT FROM picked.key"
        return change_rows(
            field,
            keys,
            limit,
            update,
            *values,
            changed=changed,
            using=using,
            skip_locked=skip_locked,
        )

    def keys_with_rows(self, field: Field, keys: Sequence[Any], *, using: str) -> set[Any]:
        names, kind = names_of(field, using), type_of(field, using)
        if field.unique and kind in EXACT:
            one = f"{names['table']} AS one WHERE {holds_one_of_keys(field, 'one', using)}"
            sql = f"SELECT one.{names['key']} FROM {one}"
        else:
            sql = (
                f"SELECT wanted.key FROM unnest(%s::{kind}[]) AS wanted (key)"
                f" CROSS JOIN LATERAL (SELECT 1 FROM {names['table']} AS child"
                f" {rows_of_wanted_key(field, using)} LIMIT 1) AS present"
            )
        guard, table = visibility.guard(field.model, using)
        fetched = fetch(using, f"{sql}{guard}", [as_array(require_keys(keys)), table])
        values, wanted = [key for (key,) in fetched], {*keys}
        held = {*visibility.without_guard(values, field.model, using, every=len(wanted))}
        if not held <= wanted:  # else keys that rows hold would count as gone
            raise InvalidKey(
                f"{label(field)}: the server returns keys in another form than the field's"
                " get_db_prep_value() makes of them. Nothing was concluded from that"
            )
        return held

    def count_rows(self, field: Field, keys: Sequence[Any], *, using: str) -> int:
        names, rest = names_of(field, using), extra_conditions(field, "child", using)
        guard, table = visibility.guard(field.model, using)
        number, *hidden = fetch(
            using,
            f"SELECT count(*) FROM unnest(%s::{type_of(field, using)}[]) AS wanted (key)"
            f" CROSS JOIN LATERAL (SELECT 1 FROM {names['table']} AS child"
            f" WHERE child.{names['key']} = wanted.key{rest} OFFSET 0)"
            f" AS present{guard}",
            [as_array(require_keys(keys)), table],
        )
        if hidden:
            raise visibility.refusal(field.model, using)
        return int(number[0])

    def count_by_key(
        self, field: Field, keys: Sequence[Any], most: int, *, using: str
    ) -> dict[Any, int]:
        names, kind = names_of(field, using), type_of(field, using)
        counts = fetch(
            using,
            f"SELECT wanted.key, count(*) FROM unnest(%s::{kind}[]) AS wanted (key)"
            f" CROSS JOIN LATERAL (SELECT 1 FROM {names['table']} AS child"
            f" {rows_of_wanted_key(field, using)} LIMIT {most:d}) AS present GROUP BY wanted.key",
            [as_array(require_keys(keys))],
        )
        return dict(counts)

    def estimate_rows(self, model: Model, *, using: str) -> int:
        table = connections[using].ops.quote_name(model._meta.db_table)
        ((number,),) = fetch(using, f"SELECT {_ESTIMATE}", [table])
        return int(number)

    def number_of_rows(self, model: Model, exact: int, *, using: str) -> int:
        table = connections[using].ops.quote_name(model._meta.db_table)
        sql = (
            f"SELECT CASE WHEN number > {exact:d} THEN number"
            f" ELSE (SELECT count(*) FROM {table}) END FROM (SELECT {_ESTIMATE}) AS seen (number)"
        )
        ((number,),) = fetch(using, sql, [table])
        return int(number)
