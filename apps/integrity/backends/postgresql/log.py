"""PostgreSQL's statements on the log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django.db import connections
from django.db.models import BooleanField, F, Func, Q, Value

from ...relations.relation import primary_key
from ...relations.stored import prepare, prepare_all
from ..base import require_keys, texts_for_log
from ..distinct import distinct
from ..quoted import QuotedNames
from ..schemas import beside_log
from .sql import array, as_array, fetch, hidden, type_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    from ...models import Stated, Tally
    from ...relations import Model
    from ..barriers import Barrier
    from ..base import HeldCascades, Lease, Rows

#: Ids of the log, as a parameter.
IDS = hidden("bigint")
#: Running cascades of a claim, found by their primary keys alone. For a plain condition on the
#: state, or for a join, planners read all open cascades by an index. Parameters: ids, the claim.
HELD = f"WHERE cascade.id = ANY({IDS}) AND cascade.claim = %s AND cascade.state || '' = 'running'"
#: The `rows` of each cascade. Parameter: a JSON object of all of them, by id.
ITS_ROWS = "NULLIF(%s::jsonb -> cascade.id::text, 'null')"

#: What a claim reads of a cascade, as it is and as documents.
READ = ("id", "parent", "relation", "batch", "deletions", "attempts", "tally")
DOCUMENTS = ("failing", "kept")
#: Cascades that may be claimed, and those on which nobody has worked before.
DUE = "{state} IN ('pending', 'running', 'waiting') AND {due_at} <= statement_timestamp()"
NEW = "attempts = 0 AND rows IS NULL"
#: The statement that claims new cascades. Who has locked one changes it, so it is passed over; then
#: what is due is asked once more, in a form that lets no planner read all that is due by an index.
#: Nothing is due in a database that is paused. Parameters: the database, twice; the most deletions;
#: known parents and relations; the most deletions; the claim, its owner, the lease in seconds,
#: whether the child's database counts its rows.
CLAIM = f"""WITH paused AS MATERIALIZED (
 SELECT FROM integrity_childdatabase WHERE alias = %s AND paused_at IS NOT NULL),
oldest AS (SELECT id, parent, relation, size, due_at, {NEW} AS is_new
 FROM integrity_cascade WHERE database = %s AND {DUE.format(state="state", due_at="due_at")}
 ORDER BY due_at, id LIMIT %s),
first AS MATERIALIZED (
 SELECT parent, relation FROM (SELECT * FROM oldest ORDER BY due_at, id LIMIT 1) AS one
 WHERE is_new AND (parent, relation) IN (SELECT * FROM unnest(%s::text[], %s::text[]))),
picked AS (SELECT id, sum(size) OVER (ORDER BY due_at, id) AS together
 FROM oldest JOIN first USING (parent, relation)
 WHERE is_new AND NOT EXISTS (SELECT FROM paused)),
due AS (SELECT id FROM integrity_cascade
 WHERE id = ANY(ARRAY(SELECT id FROM picked WHERE together <= %s)::bigint[])
 AND {DUE.format(state="state || ''", due_at="due_at + interval '0'")} AND {NEW}
 FOR NO KEY UPDATE SKIP LOCKED), held AS (
UPDATE integrity_cascade AS cascade SET state = 'running', claim = %s, owner = %s,
 due_at = statement_timestamp() + interval '1 second' * %s, attempts = cascade.attempts + 1,
 tally = CASE WHEN %s THEN cascade.tally END
FROM due WHERE cascade.id = due.id
RETURNING {", ".join(f"cascade.{name}" for name in (*READ, *DOCUMENTS))})
SELECT EXISTS (SELECT FROM oldest) AND NOT EXISTS (SELECT FROM paused), (
 SELECT jsonb_object_agg(deletion.id, jsonb_build_array(deletion.key, deletion.targets))::text
 FROM integrity_deletion AS deletion WHERE deletion.id = ANY(held.deletions)),
 {", ".join((*READ, *DOCUMENTS))}
FROM (SELECT) AS one LEFT JOIN held ON true ORDER BY id"""

RECORDED = "batch IS NULL AND cancelled_at IS NULL"
#: The statement that makes a batch: see Note [From value to value] in ../distinct.py for the names
#: of what is recorded. Its oldest rows are asked for in the order of its index: a plain condition
#: would let the planner walk through the whole log in the order of ids. They are changed by their
#: primary keys, whatever the planner thinks of the table, and their locks are held: so all that
#: were picked are changed. Parameters: a list each of parents, relations, databases and tallies;
#: the most deletions.
DISPATCH = f"""WITH RECURSIVE seen (parent, relation) AS (
(SELECT parent, relation FROM integrity_deletion WHERE {RECORDED}
 ORDER BY parent, relation LIMIT 1) UNION ALL
SELECT next.parent, next.relation FROM seen CROSS JOIN LATERAL (
 SELECT parent, relation FROM integrity_deletion AS deletion
 WHERE {RECORDED} AND (deletion.parent, deletion.relation) > (seen.parent, seen.relation)
 ORDER BY parent, relation LIMIT 1) AS next),
child AS (SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::uuid[])
 AS child (parent, relation, alias, tally)),
name AS MATERIALIZED (SELECT parent, relation FROM seen
 WHERE (parent, relation) IN (SELECT parent, relation FROM child)
 ORDER BY parent, relation LIMIT 1),
picked AS (SELECT id, recorded_at FROM integrity_deletion WHERE {RECORDED}
 AND (parent, relation) >= ((SELECT parent FROM name), (SELECT relation FROM name))
 AND (parent, relation) <= ((SELECT parent FROM name), (SELECT relation FROM name))
 ORDER BY parent, relation, id LIMIT %s FOR NO KEY UPDATE SKIP LOCKED),
made AS (SELECT min(id) AS batch, min(recorded_at) AS recorded_at, array_agg(id ORDER BY id) AS ids
 FROM picked),
changed AS (UPDATE integrity_deletion AS deletion SET batch = made.batch FROM made
 WHERE deletion.id = ANY((SELECT ids FROM made)::bigint[])),
cascade AS (INSERT INTO integrity_cascade
 (batch, database, parent, relation, deletions, size, tally, recorded_at)
 SELECT made.batch, child.alias, parent, relation, made.ids, cardinality(made.ids), child.tally,
 made.recorded_at
 FROM made CROSS JOIN name JOIN child USING (parent, relation)
 WHERE made.batch IS NOT NULL RETURNING size)
SELECT parent, relation, CASE WHEN (parent, relation) IN (SELECT parent, relation FROM name)
 THEN (SELECT max(size) FROM cascade) END FROM seen ORDER BY parent, relation"""
#: The documents of a tally, and the statement that counts. Parameters: a list for each column.
DOCUMENTED = ("counts", "keys", "targets")
WRITE_TALLIES = """INSERT INTO integrity_tally
(id, log, batch, tally, label, parent, relation, counts, keys, targets, at)
SELECT id, log, batch, tally, label, parent, relation, counts::jsonb, keys::jsonb, targets::jsonb,
 statement_timestamp() FROM unnest(%s::uuid[], %s::uuid[], %s::bigint[], %s::uuid[], %s::text[],
 %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
 AS new (id, log, batch, tally, label, parent, relation, counts, keys, targets)
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
        columns = f", {', '.join(stated._fields)}" if stated else ""
        source_and = f"%s{', %s' * len(stated or ())}"
        said = [source, *(stated or ())]
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
        self, wanted: Mapping[tuple[str, str], Sequence[str]], most: int, *, using: str
    ) -> dict[tuple[str, str], int] | None:
        cascades = [
            (parent, relation, database, uuid4())
            for (parent, relation), databases in wanted.items()
            for database in require_keys(databases)
        ]
        columns = map(list, zip(*require_keys(cascades), strict=True))
        recorded = fetch(using, DISPATCH, [*columns, most])
        return {(parent, relation): number or 0 for parent, relation, number in recorded}

    def claim_new(
        self,
        database: str,
        known: Collection[tuple[str, str]],
        most: int,
        lease: Lease,
        *,
        using: str,
    ) -> HeldCascades | None:
        from ...models import Cascade

        # Raw SQL bypasses the field, which sanitizes the text.
        plain_owner = Cascade._meta.get_field("owner").get_prep_value(lease.owner)
        names = map(list, zip(*known, strict=True)) if known else ([], [])
        given = [database, database, most, *names, most]
        given += [lease.claim, plain_owner, lease.seconds, lease.counted]
        held, keys = list[Cascade](), dict[int, tuple[str | None, Any]]()
        for is_due, its_keys, *columns in fetch(using, CLAIM, given):
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
        plain = ("id", "log", "batch", "tally", "label", "parent", "relation")
        columns = [[getattr(one, name) for one in tallies] for name in plain]
        columns += [[json.dumps(getattr(one, name)) for one in tallies] for name in DOCUMENTED]
        with connections[using].cursor() as cursor:
            cursor.execute(WRITE_TALLIES, columns)

    def insert_audit(self, entry: Mapping[str, str], *, using: str) -> None:
        # The ORM would name all columns, and naming one needs a privilege even for its default.
        with connections[using].cursor() as cursor:
            cursor.execute(
                "INSERT INTO integrity_audit (actor, verb, target, reason)"
                " VALUES (%(actor)s, %(verb)s, %(target)s, %(reason)s)",
                dict(entry),
            )
