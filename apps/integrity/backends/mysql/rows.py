"""Statements on rows of the project, for MySQL and MariaDB.

Whole numbers and UUIDs go by `DELETE … LIMIT`, which finds the rows and locks them. It cannot skip
locked rows, and texts may be equal to others by the column's collation, so in both cases the rows
are locked first, by the portable form. Its statements find their rows by an index as well.

MariaDB returns the keys of deleted rows. MySQL does not, so there the rows of several keys are
locked first, too, where each key's number is wanted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...exceptions import FilteredRead
from .. import visibility
from ..base import require_keys
from ..deleted import Gone
from ..portable.rows import PortableRows
from ..quoted import extra_conditions, names_of
from . import blocks, row_sql, session

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from ...relations import Field, Model
    from ..deleted import Deleted, Dense

#: The number of rows of a table, by the server's statistics.
_ESTIMATE = (
    "SELECT table_rows FROM information_schema.tables"
    " WHERE table_schema = DATABASE() AND table_name = %s"
)
#: Keys whose rows one statement counts.
COUNTED_KEYS = 100


class MySQLRows(PortableRows):
    """See `RowBackend`."""

    locks_in_blocks = True

    def own_session(self, *, using: str) -> AbstractContextManager[None]:
        return session.restored(using)

    def begin_step(self, *, lock_seconds: float, using: str) -> None:
        session.begin(lock_seconds, using)

    def require_current(self, model: Model, *, using: str) -> None:
        if not session.is_read_committed(using):
            raise FilteredRead(model._meta.db_table, using, visibility.WORDS["statements"])

    def dense_blocks(self, field: Field, key: Any, *, using: str) -> Dense | None:
        return blocks.dense_blocks(field, key, using)

    def delete_in_blocks(
        self,
        field: Field,
        key: Any,
        blocks_of_pks: range,
        limit: int,
        *,
        pks: bool,  # noqa: ARG002 (can_delete_before() is never true)
        using: str,
    ) -> Deleted | None:
        return blocks.delete_in_blocks(field, key, blocks_of_pks, limit, using)

    def lock_in_blocks(
        self, field: Field, key: Any, blocks_of_pks: range, limit: int, *, using: str
    ) -> dict[Any, Any]:
        return blocks.lock_in_blocks(field, key, blocks_of_pks, limit, using)

    def delete_rows(
        self, field: Field, keys: Sequence[Any], limit: int, *, using: str, skip_locked: bool
    ) -> Gone:
        visibility.require_whole(using, field.model)  # what goes has to be able to come back
        counts = len(require_keys(keys)) == 1 or row_sql.is_mariadb(using)
        if skip_locked or not counts or not row_sql.is_exact(field):
            with row_sql.through_index(using):
                return super().delete_rows(field, keys, limit, using=using, skip_locked=skip_locked)
        gone = Gone()
        for part in row_sql.lists(keys):
            gone.update(row_sql.deleted_keys(field, part, limit - gone.total(), using))
            if gone.total() >= limit:
                return gone
        # It has waited for locked rows, and a trigger cannot keep one. Only a view may hide some.
        gone.whole = not visibility.reason(field.model, using)
        return gone

    def delete_total(
        self, field: Field, keys: Sequence[Any], limit: int, *, using: str, skip_locked: bool
    ) -> int:
        visibility.require_whole(using, field.model)  # what goes has to be able to come back
        if skip_locked or not row_sql.is_exact(field):
            return self.delete_rows(
                field, keys, limit, using=using, skip_locked=skip_locked
            ).total()
        total = 0
        for part in row_sql.lists(require_keys(keys)):
            total += row_sql.execute(
                *row_sql.delete_some(field, part, limit - total, using), using
            )[0]
            if total >= limit:
                break
        return total

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
        visibility.require_whole(using, field.model)
        with row_sql.through_index(using):
            return super().update_rows(
                field, keys, value, limit, using=using, skip_locked=skip_locked
            )

    def keys_with_rows(self, field: Field, keys: Sequence[Any], *, using: str) -> set[Any]:
        if not row_sql.may_join(field, require_keys(keys), using):
            return super().keys_with_rows(field, keys, using=using)
        # A subquery with a limit: the server may turn any other one into a join with all rows.
        one = f"SELECT 1 FROM {_rows_of_wanted(field, using)} LIMIT 1"
        sql = f"SELECT wanted.k FROM {row_sql.WANTED} WHERE ({one}) IS NOT NULL"
        held = {key for (key,) in row_sql.fetch(sql, [row_sql.as_json(keys)], using)}
        visibility.require_whole(using, field.model)
        return held

    def count_rows(self, field: Field, keys: Sequence[Any], *, using: str) -> int:
        if not row_sql.may_join(field, require_keys(keys), using):
            return super().count_rows(field, keys, using=using)
        rows = _rows_of_wanted(field, using)
        sql = f"SELECT COUNT(*) FROM {row_sql.WANTED} STRAIGHT_JOIN {rows}"
        ((number,),) = row_sql.fetch(sql, [row_sql.as_json(keys)], using)
        visibility.require_whole(using, field.model)
        return int(number)

    def count_by_key(
        self, field: Field, keys: Sequence[Any], most: int, *, using: str
    ) -> dict[Any, int]:
        if not row_sql.is_exact(field):
            return super().count_by_key(field, keys, most, using=using)
        table, counts = names_of(field, using)["table"], dict[Any, int]()
        for start in range(0, len(require_keys(keys)), COUNTED_KEYS):
            part = keys[start : start + COUNTED_KEYS]
            rows = f"SELECT 1 FROM {table} WHERE {row_sql.condition_for_one(field, using)}"
            one = f"(SELECT COUNT(*) FROM ({rows} LIMIT {most:d}) AS counted)"
            fetched = row_sql.fetch(f"SELECT {', '.join([one] * len(part))}", part, using)
            counts |= {key: number for key, number in zip(part, *fetched, strict=True) if number}
        visibility.require_whole(using, field.model)
        return counts

    def estimate_rows(self, model: Model, *, using: str) -> int:
        rows = row_sql.fetch(_ESTIMATE, [model._meta.db_table], using)
        return int(rows[0][0] or 0) if rows else 0

    def number_of_rows(self, model: Model, exact: int, *, using: str) -> int:
        estimate = self.estimate_rows(model, using=using)
        return estimate if estimate > exact else super().number_of_rows(model, exact, using=using)


def _rows_of_wanted(field: Field, using: str) -> str:
    """Return the rows `child` that hold `wanted.k`, as the end of a FROM clause that joins them."""
    names = names_of(field, using)
    rest = extra_conditions(field, "child", using)
    return f"{names['table']} AS child WHERE child.{names['key']} = wanted.k{rest}"
