"""PostgreSQL's statements on the log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django.db import connections
from django.db.models import BooleanField, F, Func, Q, Value

from ...relations.relation import primary_key
from ...relations.stored import prepare, prepare_all
from .. import deadlines
from ..base import require_keys
from ..distinct import distinct
from ..quoted import QuotedNames
from ..schemas import beside_log
from ..texts import texts_for_log
from .log_sql import (
    CLAIM,
    CLAIM_NEAREST,
    DISPATCH,
    DISPATCH_DEADLINES,
    DOCUMENTS,
    READ,
)
from .sql import array, as_array, fetch, hidden, type_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    from ...models import Stated, Tally
    from ...relations import Model
    from ..barriers import Barrier
    from ..base import HeldCascades, Lease, Rows
    from ..deadlines import Days

#: Ids of the log, as a parameter.
IDS = hidden("bigint")
#: Running cascades of a claim, found by their primary keys alone. For a plain condition on the
#: state, or for a join, planners read all open cascades by an index. Parameters: ids, the claim.
HELD = f"WHERE cascade.id = ANY({IDS}) AND cascade.claim = %s AND cascade.state || '' = 'running'"
#: The `rows` of each cascade. Parameter: a JSON object of all of them, by id.
ITS_ROWS = "NULLIF(%s::jsonb -> cascade.id::text, 'null')"

#: The columns of a tally, and the statement that counts. Parameter: its rows, as one document. The
#: driver would look for quotes in each text of an array.
TALLY = {
    **dict.fromkeys(["id", "log", "tally"], "uuid"),
    "batch": "bigint",
    **dict.fromkeys(["label", "parent", "relation"], "text"),
    **dict.fromkeys(["counts", "keys", "targets"], "jsonb"),
}
WRITE_TALLIES = f"""INSERT INTO integrity_tally ({", ".join(TALLY)}, at)
SELECT {", ".join(TALLY)}, statement_timestamp() FROM jsonb_to_recordset(%s::jsonb)
 AS new ({", ".join(f"{name} {kind}" for name, kind in TALLY.items())})
ON CONFLICT (id) DO UPDATE SET counts = EXCLUDED.counts, keys = EXCLUDED.keys,
 targets = EXCLUDED.targets, at = EXCLUDED.at"""


class PostgreSQLLog:
    """See `LogBackend`."""

    distinct = staticmethod(distinct)

    def id_in(self, column: str, ids: Sequence[int]) -> Any:
        # One parameter: the ORM takes longer to write a list of hundreds than the server to answer.
        if not ids:
            return Q(pk__in=())  # the ORM runs no statement for an empty list
        before, after = IDS.split("%s")
        return Func(
            F(column),
            Value(array(ids)),
            template=f"%(expressions)s{after})",
            arg_joiner=f" = ANY({before}",
            output_field=BooleanField(),
        )

    def insert_deletions(
        self,
        parent: Model,
        keys: Sequence[Any],
        targets: Sequence[Any],
        source: str,
        stated: Stated | None = None,
        *,
        using: str,
    ) -> list[str]:
        pk = primary_key(parent)
        names = QuotedNames(using, table=parent._meta.db_table, key=pk.column)
        kind = type_of(pk, using)
        texts = texts_for_log(parent, keys, targets)
        packed_targets = [None if target is None else json.dumps(target) for target in targets]
        alive = f"SELECT FROM {names['table']} AS alive WHERE alive.{names['key']} ="
        ours, table = beside_log(parent, using)
        columns, source_and, said = _stated(stated, source)
        if len(keys) == 1:  # what most requests delete; the server plans this in half the time
            values = f"%s, %s::jsonb, {source_and} WHERE NOT EXISTS ({alive} %s::{kind})"
            params = [*texts, *packed_targets, *said, prepare(pk, keys[0], using), table]
        else:
            values = (
                f"gone.text, gone.target::jsonb, {source_and}"
                f" FROM unnest(%s::{kind}[], %s::text[], %s::text[]) AS gone (key, text, target)"
                f" WHERE NOT EXISTS ({alive} gone.key)"
            )
            known = packed_targets if any(packed_targets) else None
            params = [
                *said,
                as_array(prepare_all(pk, require_keys(keys), using)),
                texts,
                known,
                table,
            ]
        rows = fetch(
            using,
            f"INSERT INTO integrity_deletion (parent, key, targets, source{columns})"
            f" SELECT %s, {values} AND {ours} RETURNING key",
            [parent._meta.label, *params],
        )
        return [key for (key,) in rows]

    def insert_confirmed(self, suspects: Sequence[int], *, using: str) -> list[int]:
        # No column is named that no role may set: control/grants/log.py.
        rows = fetch(
            using,
            "INSERT INTO integrity_deletion (parent, key, targets, relation, source)"
            " SELECT parent, CASE WHEN field = '' THEN value END,"
            " CASE WHEN field <> '' THEN jsonb_build_object(field, value) END, relation, 'scan'"
            f" FROM integrity_suspect WHERE id = ANY({IDS}) ORDER BY id RETURNING id",
            [array(require_keys(suspects))],
        )
        return sorted(pk for (pk,) in rows)

    def triggered_deletions(self, parent: Model, keys: Sequence[str], *, using: str) -> set[str]:
        # A trigger logs at the time of a statement, never before its transaction began.
        rows = fetch(
            using,
            "SELECT key FROM integrity_deletion WHERE parent = %s AND key = ANY(%s)"
            " AND source = 'trigger' AND recorded_at >= transaction_timestamp()",
            [parent._meta.label, list(require_keys(keys))],
        )
        return {key for (key,) in rows}

    def dispatch_batch(
        self,
        wanted: Mapping[tuple[str, str], Sequence[str]],
        most: int,
        *,
        using: str,
        days: Days | None = None,
    ) -> dict[tuple[str, str], int] | None:
        cascades = [
            (parent, relation, database, uuid4())
            for (parent, relation), databases in wanted.items()
            for database in require_keys(databases)
        ]
        columns = map(list, zip(*require_keys(cascades), strict=True))
        if days is None:
            recorded = fetch(using, DISPATCH, [*columns, most])
        else:
            given = [*columns, [days[parent] for parent, *_ in cascades], most]
            given += [deadlines.WITHOUT_DAYS, list(deadlines.THRESHOLDS)]
            recorded = fetch(using, DISPATCH_DEADLINES, given)
        return {(parent, relation): number or 0 for parent, relation, number in recorded}

    def claim_new(
        self,
        database: str,
        known: Collection[tuple[str, str]],
        most: int,
        lease: Lease,
        *,
        using: str,
        nearest: bool = False,
    ) -> HeldCascades | None:
        from ...models import Cascade

        # Raw SQL bypasses the field, which sanitizes the text.
        plain_owner = Cascade._meta.get_field("owner").get_prep_value(lease.owner)
        names = map(list, zip(*known, strict=True)) if known else ([], [])
        given = [database, database, most, *names, most]
        given += [lease.claim, plain_owner, lease.seconds, lease.counted]
        held, keys = list[Cascade](), dict[int, tuple[str | None, Any]]()
        for is_due, its_keys, *columns in fetch(using, CLAIM_NEAREST if nearest else CLAIM, given):
            if columns[0] is None:
                return None if is_due else (held, keys)
            plain, documents = columns[: len(READ)], columns[len(READ) :]
            values = [*plain, *(each and json.loads(each) for each in documents)]
            held.append(Cascade(**dict(zip((*READ, *DOCUMENTS), values, strict=True))))
            keys |= {int(pk): named for pk, named in json.loads(its_keys or "{}").items()}
        return held, keys

    def finish_cascades(
        self,
        claim: UUID | None,
        rows: Mapping[int, Rows | None],
        sizes: Mapping[int, int],
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
            " AND cascade.size = (%s::jsonb -> cascade.id::text)::int RETURNING cascade.id",
            [
                json.dumps(rows),
                barrier.number if barrier else None,
                barrier.server if barrier else "",
                grace_seconds,
                array(require_keys(list(rows))),
                claim,
                json.dumps(sizes),
            ],
        )
        return [cascade for (cascade,) in finished]

    def save_progress(
        self, claim: UUID | None, rows: Mapping[int, Rows | None], *, using: str
    ) -> None:
        with connections[using].cursor() as cursor:
            cursor.execute(
                f"UPDATE integrity_cascade AS cascade SET rows = {ITS_ROWS} {HELD}",
                [json.dumps(rows), array(require_keys(list(rows))), claim],
            )

    def write_tallies(self, tallies: Sequence[Tally], *, using: str) -> None:
        # The ORM takes five times as long to write this.
        rows = [{name: getattr(one, name) for name in TALLY} for one in tallies]
        with connections[using].cursor() as cursor:
            cursor.execute(WRITE_TALLIES, [json.dumps(rows, default=str)])

    def insert_audit(self, entry: Mapping[str, str], *, using: str) -> None:
        # The ORM would name all columns, and naming one needs a privilege even for its default.
        with connections[using].cursor() as cursor:
            cursor.execute(
                "INSERT INTO integrity_audit (actor, verb, target, reason)"
                " VALUES (%(actor)s, %(verb)s, %(target)s, %(reason)s)",
                dict(entry),
            )


def _stated(stated: Stated | None, source: str) -> tuple[str, str, list[Any]]:
    """Return columns, values and parameters of an INSERT: the source, and what is stated. Pure."""
    from ...models import STATED_TEXTS

    if not stated:
        return "", "%s", [source]
    texts = [getattr(stated, name) for name in STATED_TEXTS]
    columns, values = f", {', '.join(STATED_TEXTS)}", f"%s{', %s' * len(texts)}"
    if not stated.deadline:
        return columns, values, [source, *texts]
    is_moment, seconds = deadlines.stated(stated.deadline)
    moment = "to_timestamp(%s)" if is_moment else "statement_timestamp() + %s * interval '1 second'"
    return f"{columns}, deadline", f"{values}, {moment}", [source, *texts, seconds]
