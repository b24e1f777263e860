"""Statements on the log, for MySQL and MariaDB.

Note [First without locks]: InnoDB locks every row that a statement looks at, and not only those
that it returns. So rows are chosen by a plain SELECT over an index, and are then locked by their
primary keys, where the conditions are asked once more. Who has lost a row meanwhile leaves it out.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.models import F, Q
from django.db.models.lookups import In

from .. import deadlines
from ..base import require_keys
from ..portable.log import PortableLog
from . import row_sql
from .distinct import distinct
from .session import ReadCommitted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql.compiler import SQLCompiler

    from ...models import Deletion, Tally
    from ..barriers import Barrier
    from ..base import Rows
    from ..deadlines import Days

#: The driver repeats what follows VALUES for each row. All other columns have a default.
INSERT = "INSERT INTO integrity_deletion (parent, `key`, targets, source) VALUES (%s, %s, %s, %s)"
INSERT_STATED = """INSERT INTO integrity_deletion
(parent, `key`, targets, source, actor, reference, because) VALUES (%s, %s, %s, %s, %s, %s, %s)"""

NAMES = ["parent", "relation"]
RECORDED = "batch IS NULL AND cancelled_at IS NULL"
#: The oldest recorded deletions of a parent and a relation.
OLDEST = f"""SELECT id FROM integrity_deletion FORCE INDEX (integrity_deletion_recorded)
WHERE {RECORDED} AND parent = %s AND relation = %s ORDER BY id LIMIT %s"""
#: Those of some ids that nobody else has locked, with their times.
LOCK_RECORDED = f"""SELECT id, recorded_at{{deadline}} FROM integrity_deletion FORCE INDEX (PRIMARY)
WHERE {{among}} AND {RECORDED} FOR UPDATE{{skip}}"""
#: A parent's deadline, for what has none of its own. Parameter: microseconds.
SET_DEADLINE = ", deadline = COALESCE(deadline, recorded_at + INTERVAL %s MICROSECOND)"
PUT_INTO_BATCH = "UPDATE integrity_deletion FORCE INDEX (PRIMARY) SET batch = %s{set} WHERE {among}"

#: Running cascades of a claim, found by their primary keys. Parameter: the claim.
HELD = "WHERE {among} AND claim = %s AND state = 'running'"
LOCK_HELD = f"SELECT id, size FROM integrity_cascade FORCE INDEX (PRIMARY) {HELD} FOR UPDATE"
#: Parameters: the document of each cascade, barrier and its server, the grace period.
FINISH = """UPDATE integrity_cascade FORCE INDEX (PRIMARY) SET state = 'done', claim = NULL,
reason = '', failing = NULL, done_at = UTC_TIMESTAMP(6), `rows` = {rows}, barrier = %s,
barrier_server = %s, due_at = UTC_TIMESTAMP(6) + INTERVAL %s MICROSECOND WHERE {among}"""
SAVE = f"UPDATE integrity_cascade FORCE INDEX (PRIMARY) SET `rows` = {{rows}} {HELD}"

TALLY = f"({', '.join(['%s'] * 10)}, UTC_TIMESTAMP(6))"
WRITE_TALLIES = """INSERT INTO integrity_tally
(id, log, tally, batch, label, parent, relation, counts, `keys`, targets, at) VALUES {rows}
ON DUPLICATE KEY UPDATE counts = VALUES(counts), `keys` = VALUES(`keys`),
 targets = VALUES(targets), at = VALUES(at)"""


class ListedIn(In):
    """The condition that a column holds one of some ids, which are numbers in the SQL.

    The ORM and the driver take longer over hundreds of parameters than the server does. It is a
    lookup, because of other conditions Django makes `(…) = 1` for MySQL, which no index serves: the
    server would read, and lock, the whole table.
    """

    prepare_rhs = False

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, Any]:
        """Return the condition, and its parameters."""
        column, params = self.process_lhs(compiler, connection)
        return row_sql.among(column, self.rhs)[0], params


class MySQLLog(PortableLog):
    """See `LogBackend`."""

    distinct = staticmethod(distinct)

    def id_in(self, column: str, ids: Sequence[int]) -> Any:
        # The ORM runs no statement for an empty list.
        return ListedIn(F(column), [int(pk) for pk in ids]) if ids else Q(pk__in=())

    def write_tallies(self, tallies: Sequence[Tally], *, using: str) -> None:
        # Once in every step, and the ORM takes several times as long to write this.
        values = list[Any]()
        for one in tallies:
            uuids = [_stored_uuid(uuid, using) for uuid in (one.id, one.log, one.tally)]
            documents = map(json.dumps, (one.counts, one.keys, one.targets))
            values += [*uuids, one.batch, one.label, one.parent, one.relation, *documents]
        sql = WRITE_TALLIES.format(rows=", ".join([TALLY] * len(tallies)))
        with connections[using].cursor() as cursor:
            cursor.execute(sql, values)

    def _insert(self, new: Sequence[Deletion], using: str) -> None:
        if new and new[0].deadline is not None:  # an expression, which the driver does not repeat
            super()._insert(new, using)
            return
        is_stated = any(row.actor or row.reference or row.because for row in new[:1])  # as of all
        values = [
            (
                *(row.parent, row.key, row.targets and json.dumps(row.targets), row.source),
                *((row.actor, row.reference, row.because) if is_stated else ()),
            )
            for row in new
        ]
        with connections[using].cursor() as cursor:
            # In as few statements as the driver can.
            cursor.executemany(INSERT_STATED if is_stated else INSERT, values)

    def dispatch_batch(
        self,
        wanted: Mapping[tuple[str, str], Sequence[str]],
        most: int,
        *,
        using: str,
        days: Days | None = None,
    ) -> dict[tuple[str, str], int] | None:
        from ...models import Deletion

        found = distinct(NAMES, (Deletion, RECORDED), using=using)
        recorded = dict.fromkeys(((parent, relation) for parent, relation in found), 0)
        for name in sorted(recorded.keys() & wanted.keys())[:1]:
            recorded[name] = _make_batch(name, require_keys(wanted[name]), most, using, days)
        return recorded

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
        ids, token = require_keys(list(rows)), _stored_uuid(claim, using)
        with ReadCommitted(using), connections[using].cursor() as cursor:
            cursor.execute(LOCK_HELD.format(among=_among(ids)), [token])
            finished = [pk for pk, size in cursor.fetchall() if size == sizes[pk]]
            if finished:
                sql, documents = _documents({pk: rows[pk] for pk in finished})
                its_barrier = (barrier.number, barrier.server) if barrier else (None, "")
                grace = round(grace_seconds * 1_000_000)
                finish = FINISH.format(rows=sql, among=_among(finished))
                cursor.execute(finish, [*documents, *its_barrier, grace])
        return finished

    def save_progress(
        self, claim: UUID | None, rows: Mapping[int, Rows | None], *, using: str
    ) -> None:
        sql, documents = _documents(rows)
        with connections[using].cursor() as cursor:
            save = SAVE.format(rows=sql, among=_among(require_keys(list(rows))))
            cursor.execute(save, [*documents, _stored_uuid(claim, using)])


def _make_batch(
    name: tuple[str, str],
    databases: Sequence[str],
    most: int,
    using: str,
    days: Days | None = None,
) -> int:
    """Put the oldest recorded deletions of a parent and a relation into a batch, with cascades.

    Return their number; 0 where other dispatchers have them. See Note [First without locks].
    """
    from ...models import Cascade
    from ...models.moments import MomentField

    connection, moment = connections[using], MomentField()
    skip = " SKIP LOCKED" * connection.features.has_select_for_update_skip_locked
    with ReadCommitted(using), connection.cursor() as cursor:
        cursor.execute(OLDEST, [*name, most])
        if not (oldest := [pk for (pk,) in cursor.fetchall()]):
            return 0
        own = "" if days is None else ", deadline"
        cursor.execute(LOCK_RECORDED.format(skip=skip, among=_among(oldest), deadline=own))
        recorded = {
            pk: [moment.from_db_value(at, None, connection) for at in moments]
            for pk, *moments in cursor.fetchall()
        }
        if not (ids := sorted(recorded)):
            return 0
        lasts = None if days is None else days[name[0]]
        put, given = PUT_INTO_BATCH, [ids[0]]
        if lasts is not None:
            given.append(round(lasts * 86_400_000_000))
        put = put.format(set=SET_DEADLINE * (lasts is not None), among=_among(ids))
        cursor.execute(put, given)
        made = deadlines.cascades_of(name, recorded, databases, days, using=using)
        Cascade.objects.using(using).bulk_create(made)
    return len(ids)


def _among(ids: Sequence[int]) -> str:
    """Return the condition that a row has one of these ids. Pure."""
    return row_sql.among("id", [int(pk) for pk in ids])[0]


def _documents(rows: Mapping[int, Rows | None]) -> tuple[str, list[Any]]:
    """Return an expression for the `rows` of each cascade, and its parameters. Pure."""
    changed = {pk: json.dumps(document) for pk, document in rows.items() if document is not None}
    if not changed:
        return "NULL", []
    cases = " ".join(["WHEN %s THEN %s"] * len(changed))
    return f"CASE id {cases} END", [value for pair in changed.items() for value in pair]


def _stored_uuid(value: UUID | None, using: str) -> Any:
    from ...models import Cascade

    return Cascade._meta.get_field("claim").get_db_prep_value(value, connections[using])
