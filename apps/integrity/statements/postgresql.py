"""PostgreSQL's form of the statements: those on the log; those on the project's rows: rows.py."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.models import BooleanField, F, Func, Q, Value

from ..relations import format_key, primary_key
from . import need
from .rows import Rows
from .sql import Names, array, as_array, fetch, hidden, type_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from ..relations import Model, Relation

#: Ids of the log.
IDS = hidden("bigint")
#: Cascades that a claim holds at work, by their keys alone: for a state that an index knows, or
#: for a join, planners read all that is open. Parameters: ids, the claim.
HELD = f"WHERE cascade.id = ANY({IDS}) AND cascade.claim = %s AND cascade.state || '' = 'running'"
#: Of each, its `rows`. Parameter: a JSON object of all of them, by id.
ITS_ROWS = "%s::jsonb -> cascade.id::text"


class PostgreSQL(Rows):
    """See `Statements`."""

    def among(self, name: str, ids: Sequence[int]) -> Any:
        # One parameter: the ORM's list of hundreds takes longer to write than to answer.
        if not ids:
            return Q(pk__in=())  # the ORM knows that this is empty, and asks nobody
        before, after = IDS.split("%s")
        return Func(
            F(name),
            Value(array(ids)),
            template=f"%(expressions)s{after})",
            arg_joiner=f" = ANY({before}",
            output_field=BooleanField(),
        )

    def insert_deletions(
        self, parent: Model, keys: Sequence[Any], targets: Sequence[Any], source: str, *, using: str
    ) -> list[str]:
        pk = primary_key(parent)
        names = Names(using, table=parent._meta.db_table, key=pk.column)
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
            params = [source, as_array(pk, need(keys), using), texts, known]
        rows = fetch(
            using,
            "INSERT INTO integrity_deletion (parent, key, targets, source, state)"
            f" SELECT %s, {values} RETURNING key",
            [parent._meta.label, *params],
        )
        return [key for (key,) in rows]

    def triggered_deletions(self, parent: Model, keys: Sequence[str], *, using: str) -> set[str]:
        # A trigger logs at the time of a statement, never before its transaction began.
        rows = fetch(
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
                [list(databases), array(need(deletions))],
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
        finished = fetch(
            using,
            "UPDATE integrity_cascade AS cascade SET state = 'done', claim = NULL, reason = '',"
            f" done_at = statement_timestamp(), rows = {ITS_ROWS}, barrier = %s,"
            f" due_at = statement_timestamp() + %s * interval '1 second' {HELD}"
            " RETURNING cascade.deletion_id",
            [json.dumps(rows), barrier, grace_seconds, array(need(list(rows))), claim],
        )
        return [deletion for (deletion,) in finished]

    def keep_rows(self, claim: UUID, rows: Mapping[int, Mapping[str, int]], *, using: str) -> None:
        with connections[using].cursor() as cursor:
            cursor.execute(
                f"UPDATE integrity_cascade AS cascade SET rows = {ITS_ROWS} {HELD}",
                [json.dumps(rows), array(need(list(rows))), claim],
            )

    def estimate_rows(self, model: Model, *, using: str) -> int:
        table = connections[using].ops.quote_name(model._meta.db_table)
        ((number,),) = fetch(
            using,
            "SELECT coalesce(sum(greatest(reltuples, 0)), 0)::bigint FROM pg_class"
            " WHERE oid = to_regclass(%s)",
            [table],
        )
        return int(number)

    def oldest_transaction(self, *, using: str) -> int | None:
        ((oldest,),) = fetch(
            using, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint", []
        )
        return int(oldest)

    def next_transaction(self, *, using: str) -> int | None:
        ((own,),) = fetch(using, "SELECT pg_current_xact_id()::text::bigint", [])
        return int(own)
