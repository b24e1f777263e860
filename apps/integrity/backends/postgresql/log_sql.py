"""The statements with which PostgreSQL dispatches deletions and claims cascades."""

from __future__ import annotations

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
#: `in_order` is an order of what is due, and its condition; `order` and `column` are the same.
CLAIM_BY = """WITH paused AS MATERIALIZED (
 SELECT FROM integrity_childdatabase WHERE alias = %s AND paused_at IS NOT NULL),
oldest AS (SELECT id, parent, relation, size, {column}, {new} AS is_new
 FROM integrity_cascade WHERE database = %s AND {due}
 ORDER BY {column}, id LIMIT %s),
first AS MATERIALIZED (
 SELECT parent, relation FROM (SELECT * FROM oldest ORDER BY {column}, id LIMIT 1) AS one
 WHERE is_new AND (parent, relation) IN (SELECT * FROM unnest(%s::text[], %s::text[]))),
picked AS (SELECT id, sum(size) OVER (ORDER BY {column}, id) AS together
 FROM oldest JOIN first USING (parent, relation)
 WHERE is_new AND NOT EXISTS (SELECT FROM paused)),
due AS (SELECT id FROM integrity_cascade
 WHERE id = ANY(ARRAY(SELECT id FROM picked WHERE together <= %s)::bigint[])
 AND {still_due} AND {new}
 FOR NO KEY UPDATE SKIP LOCKED), held AS (
UPDATE integrity_cascade AS cascade SET state = 'running', claim = %s, owner = %s,
 due_at = statement_timestamp() + interval '1 second' * %s, attempts = cascade.attempts + 1,
 tally = CASE WHEN %s THEN cascade.tally END
FROM due WHERE cascade.id = due.id
RETURNING {held})
SELECT EXISTS (SELECT FROM oldest) AND NOT EXISTS (SELECT FROM paused), (
 SELECT jsonb_object_agg(deletion.id, jsonb_build_array(deletion.key, deletion.targets))::text
 FROM integrity_deletion AS deletion WHERE deletion.id = ANY(held.deletions)),
 {read}
FROM (SELECT) AS one LEFT JOIN held ON true ORDER BY id"""


def _claim(column: str, condition: str) -> str:
    return CLAIM_BY.format(
        column=column,
        new=NEW,
        due=DUE.format(state="state", due_at="due_at") + condition,
        still_due=DUE.format(state="state || ''", due_at="due_at + interval '0'"),
        held=", ".join(f"cascade.{name}" for name in (*READ, *DOCUMENTS)),
        read=", ".join((*READ, *DOCUMENTS)),
    )


CLAIM = _claim("due_at", "")
#: As that, in the order of deadlines: Note [Nearest first] in ../deadlines.py.
CLAIM_NEAREST = _claim("order_at", " AND order_at IS NOT NULL")

RECORDED = "batch IS NULL AND cancelled_at IS NULL"
#: The deadline that a deletion has, or gets by its parent.
DEADLINE = """coalesce(deadline, recorded_at + interval '1 day'
 * (SELECT max(days) FROM child JOIN name USING (parent, relation)))"""
#: The statement that makes a batch: see Note [From value to value] in ../distinct.py for the names
#: of what is recorded. Its oldest rows are asked for in the order of its index: a plain condition
#: would let the planner walk through the whole log in the order of ids. They are changed by their
#: primary keys, whatever the planner thinks of the table, and their locks are held: so all that
#: were picked are changed. Parameters: a list each of parents, relations, databases and tallies;
#: the most deletions.
DISPATCH_BY = """WITH RECURSIVE seen (parent, relation) AS (
(SELECT parent, relation FROM integrity_deletion WHERE {recorded}
 ORDER BY parent, relation LIMIT 1) UNION ALL
SELECT next.parent, next.relation FROM seen CROSS JOIN LATERAL (
 SELECT parent, relation FROM integrity_deletion AS deletion
 WHERE {recorded} AND (deletion.parent, deletion.relation) > (seen.parent, seen.relation)
 ORDER BY parent, relation LIMIT 1) AS next),
child AS (SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::uuid[]{types})
 AS child (parent, relation, alias, tally{columns})),
name AS MATERIALIZED (SELECT parent, relation FROM seen
 WHERE (parent, relation) IN (SELECT parent, relation FROM child)
 ORDER BY parent, relation LIMIT 1),
picked AS (SELECT id, recorded_at{deadline} FROM integrity_deletion WHERE {recorded}
 AND (parent, relation) >= ((SELECT parent FROM name), (SELECT relation FROM name))
 AND (parent, relation) <= ((SELECT parent FROM name), (SELECT relation FROM name))
 ORDER BY parent, relation, id LIMIT %s FOR NO KEY UPDATE SKIP LOCKED),
{made}changed AS (UPDATE integrity_deletion AS deletion SET batch = made.batch{set} FROM made
 WHERE deletion.id = ANY((SELECT ids FROM made)::bigint[])),
{cascades}{ends}
 THEN ({number}) END FROM seen ORDER BY parent, relation"""
ENDS = (
    "SELECT parent, relation, CASE WHEN (parent, relation) IN (SELECT parent, relation FROM name)"
)
DISPATCH = DISPATCH_BY.format(
    ends=ENDS,
    recorded=RECORDED,
    types="",
    columns="",
    deadline="",
    set="",
    made="""made AS (SELECT min(id) AS batch, min(recorded_at) AS recorded_at,"""
    """ array_agg(id ORDER BY id) AS ids\n FROM picked),\n""",
    cascades="""cascade AS (INSERT INTO integrity_cascade
 (batch, database, parent, relation, deletions, size, tally, recorded_at)
 SELECT made.batch, child.alias, parent, relation, made.ids, cardinality(made.ids), child.tally,
 made.recorded_at
 FROM made CROSS JOIN name JOIN child USING (parent, relation)
 WHERE made.batch IS NOT NULL RETURNING size)
""",
    number="SELECT max(size) FROM cascade",
)
#: Further parameters: a list of days, one of each database, after the tallies; then the days of
#: what has no deadline, and the ends of the groups: see Note [Groups of a batch] in
#: ../deadlines.py.
DISPATCH_DEADLINES = DISPATCH_BY.format(
    ends=ENDS,
    recorded=RECORDED,
    types=", %s::float8[]",
    columns=", days",
    deadline=f", {DEADLINE} AS deadline",
    set=f", deadline = {DEADLINE}",
    made="""ordered AS (SELECT id, recorded_at, deadline,
 coalesce(deadline, recorded_at + %s * interval '1 day') AS order_at FROM picked),
part AS (SELECT array_agg(id ORDER BY id) AS ids, min(recorded_at) AS recorded_at,
 min(deadline) AS deadline, min(order_at) AS order_at FROM ordered GROUP BY width_bucket(
 extract(epoch FROM order_at - statement_timestamp())::float8, %s::float8[])),
made AS (SELECT min(id) AS batch, array_agg(id ORDER BY id) AS ids FROM picked),
""",
    cascades="""cascade AS (INSERT INTO integrity_cascade
 (batch, database, parent, relation, deletions, size, tally, recorded_at, deadline, order_at)
 SELECT made.batch, child.alias, parent, relation, part.ids, cardinality(part.ids), child.tally,
 part.recorded_at, part.deadline, part.order_at
 FROM made CROSS JOIN part CROSS JOIN name JOIN child USING (parent, relation)
 WHERE made.batch IS NOT NULL)
""",
    number="SELECT nullif(count(*), 0) FROM picked",
)
