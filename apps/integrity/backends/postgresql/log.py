"""PostgreSQL's form of the statements: those on the log; those on the project's rows: rows.py."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, connections, transaction
from django.db.models import BooleanField, F, Func, Q, Value

from ...models.deletions import HEAD, HEAD_CHARS
from ...relations.keys import format_key
from ...relations.relation import primary_key
from ...relations.stored import prepare, prepare_all
from ..barriers import Barrier, Blocker, Holder, Horizon, packed
from ..base import need
from ..schemas import beside_log
from .rows import Rows
from .sql import Names, array, as_array, fetch, hidden, type_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from ...relations import Model, Relation

#: Ids of the log.
IDS = hidden("bigint")
#: Cascades that a claim holds at work, by their keys alone: for a state that an index knows, or
#: for a join, planners read all that is open. Parameters: ids, the claim.
HELD = f"WHERE cascade.id = ANY({IDS}) AND cascade.claim = %s AND cascade.state || '' = 'running'"
#: Of each, its `rows`. Parameter: a JSON object of all of them, by id.
ITS_ROWS = "%s::jsonb -> cascade.id::text"

#: What the index of the keys holds of each.
KEY_HEAD = HEAD % {"expressions": "key"}

#: Who a server is. A dump that is restored, an upgrade and a promotion change it; a copy of the
#: files does so by its port alone. A restart does not, or nothing would ever be verified on a
#: server that is started for each look.
CONTROL_FILE = (
    "(SELECT system_identifier FROM pg_control_system()) || '/' ||"
    " (SELECT timeline_id FROM pg_control_checkpoint()) || '/' || current_setting('port')"
)
STARTED_AT = "'started ' || extract(epoch FROM pg_postmaster_start_time())"
#: Insufficient privilege, undefined function, feature not supported.
NO_CONTROL_FILE = {"42501", "42883", "0A000"}
#: Numbers of transactions: the oldest that is open, and one past all that have ended. A transaction
#: that asks for itself counts as ended.
HORIZON = (
    "SELECT pg_snapshot_xmin(now)::text::bigint,"
    " greatest(pg_snapshot_xmax(now), pg_current_xact_id_if_assigned())::text::bigint, {server}"
    " FROM pg_current_snapshot() AS now"
)
#: Only what has a number holds snapshots back: a transaction that has written, in any database of
#: the server, and a prepared one. Readers, replication slots and standbys do not.
BLOCKER = (
    "SELECT oldest.number::text::bigint, oldest.following::text::bigint, session.pid,"
    " coalesce(nullif(session.application_name, ''), session.backend_type),"
    " coalesce(prepared.database, session.datname), prepared.owner, session.state, prepared.gid,"
    " to_char(coalesce(prepared.prepared, session.xact_start) AT TIME ZONE 'UTC',"
    " 'YYYY-MM-DD HH24:MI:SS \"UTC\"')"
    " FROM (SELECT pg_snapshot_xmin(now) AS number, pg_snapshot_xmax(now) AS following"
    " FROM pg_current_snapshot() AS now) AS oldest"
    " LEFT JOIN pg_stat_activity AS session ON session.backend_xid = oldest.number::xid"
    " LEFT JOIN pg_prepared_xacts AS prepared ON prepared.transaction = oldest.number::xid"
    " LIMIT 1"
)


def among_array(name: str, ids: Sequence[int]) -> Any:
    """Return the condition that the log's column `name` holds one of `ids`.

    One parameter: the ORM's list of hundreds takes longer to write than to answer.
    """
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


class PostgreSQL(Rows):
    """See `Statements`."""

    def insert_deletions(
        self, parent: Model, keys: Sequence[Any], targets: Sequence[Any], source: str, *, using: str
    ) -> list[str]:
        pk = primary_key(parent)
        names = Names(using, table=parent._meta.db_table, key=pk.column)
        kind = type_of(pk, using)
        texts = [format_key(pk, key) for key in keys]
        packed = [None if target is None else json.dumps(target) for target in targets]
        alive = f"SELECT FROM {names['table']} AS alive WHERE alive.{names['key']} ="
        ours, table = beside_log(parent, using)
        if len(keys) == 1:  # the usual request: planned in half the time
            values = f"%s, %s::jsonb, %s, 'recorded' WHERE NOT EXISTS ({alive} %s::{kind})"
            params = [*texts, *packed, source, prepare(pk, keys[0], using), table]
        else:
            values = (
                "gone.text, gone.target::jsonb, %s, 'recorded'"
                f" FROM unnest(%s::{kind}[], %s::text[], %s::text[]) AS gone (key, text, target)"
                f" WHERE NOT EXISTS ({alive} gone.key)"
            )
            known = packed if any(packed) else None
            params = [source, as_array(prepare_all(pk, need(keys), using)), texts, known, table]
        rows = fetch(
            using,
            "INSERT INTO integrity_deletion (parent, key, targets, source, state)"
            f" SELECT %s, {values} AND {ours} RETURNING key",
            [parent._meta.label, *params],
        )
        return [key for (key,) in rows]

    def triggered_deletions(self, parent: Model, keys: Sequence[str], *, using: str) -> set[str]:
        # A trigger logs at the time of a statement, never before its transaction began.
        rows = fetch(
            using,
            f"SELECT key FROM integrity_deletion WHERE parent = %s AND {KEY_HEAD} = ANY(%s)"
            " AND key = ANY(%s) AND source = 'trigger' AND recorded_at >= transaction_timestamp()",
            [parent._meta.label, [key[:HEAD_CHARS] for key in need(keys)], list(keys)],
        )
        return {key for (key,) in rows}

    def insert_suspects(
        self,
        relation: Relation,
        keys: Sequence[str],
        *,
        target: str | None,
        fence: Mapping[str, Barrier],
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
                    json.dumps(packed(fence)),
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
        barrier: Barrier | None,
        grace_seconds: float,
        using: str,
    ) -> list[int]:
        finished = fetch(
            using,
            "UPDATE integrity_cascade AS cascade SET state = 'done', claim = NULL, reason = '',"
            f" failing = NULL, done_at = statement_timestamp(), rows = {ITS_ROWS}, barrier = %s,"
            " barrier_server = %s,"
            f" due_at = statement_timestamp() + %s * interval '1 second' {HELD}"
            " RETURNING cascade.deletion_id",
            [
                json.dumps(rows),
                barrier.number if barrier else None,
                barrier.server if barrier else "",
                grace_seconds,
                array(need(list(rows))),
                claim,
            ],
        )
        return [deletion for (deletion,) in finished]

    def keep_rows(self, claim: UUID, rows: Mapping[int, Mapping[str, int]], *, using: str) -> None:
        with connections[using].cursor() as cursor:
            cursor.execute(
                f"UPDATE integrity_cascade AS cascade SET rows = {ITS_ROWS} {HELD}",
                [json.dumps(rows), array(need(list(rows))), claim],
            )

    def insert_audit(self, entry: Mapping[str, str], *, using: str) -> None:
        # Columns that are named need a privilege, even for their default, as the ORM writes it.
        with connections[using].cursor() as cursor:
            cursor.execute(
                "INSERT INTO integrity_audit (actor, verb, target, reason)"
                " VALUES (%(actor)s, %(verb)s, %(target)s, %(reason)s)",
                dict(entry),
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

    def oldest_transaction(self, *, using: str) -> Horizon | None:
        oldest, following, server = _with_server(using, HORIZON)
        return Horizon(oldest=oldest, following=following, server=server)

    def next_transaction(self, *, using: str) -> Barrier | None:
        number, server = _with_server(using, "SELECT pg_current_xact_id()::text::bigint, {server}")
        return Barrier(number=number, server=server)

    def blocker(self, *, using: str) -> Blocker | None:
        ((number, following, pid, application, database, owner, state, gid, since),) = fetch(
            using, BLOCKER, []
        )
        if gid is None and pid is None and number >= following:
            return None
        kind = Holder.UNSEEN if pid is None else Holder.SESSION
        kind = kind if gid is None else Holder.PREPARED
        return Blocker(
            number=number,
            kind=kind,
            pid=pid,
            application=application or "",
            database=database or "",
            owner=owner or "",
            state=state or "",
            gid=gid or "",
            since=since or "",
        )


def _with_server(using: str, sql: str) -> tuple[Any, ...]:
    """Return the one row of a statement that ends with the server's identity.

    Where the role may not read the control file, or the server has none, the server's start stands
    for its identity: barriers are then taken anew after each restart.
    """
    connection = connections[using]
    try:
        with transaction.atomic(using=using) if connection.in_atomic_block else nullcontext():
            (row,) = fetch(using, sql.format(server=CONTROL_FILE), [])
    except DatabaseError as error:
        if getattr(error.__cause__, "sqlstate", "") not in NO_CONTROL_FILE:
            raise
        (row,) = fetch(using, sql.format(server=STARTED_AT), [])
    return row
