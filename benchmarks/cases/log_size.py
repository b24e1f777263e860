"""B10: a log with very many finished deletions, compared with an empty one.

Each step runs in both logs in turn. If a step misses its target, the result has its query plan.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from django.db import connections

from apps.integrity.models import Cascade, Deletion

from ..lib.result import Result, ratios, short, spread
from ..lib.snapshots import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lib.clients import Client
    from ..lib.stage import Stage

TARGET = 1.2
#: Runs of all steps in one round.
TIMES = 3
TITLES = {
    "claim": "two claims of 500 deletions",
    "dispatch": "dispatch of 500 deletions",
    "status": "status, twice",
    "overview": "the dashboard's overview, twice",
    "record": "recording 500 deletions",
    "due": "asking which databases have work",
    "finish": "finishing 500 deletions in two databases",
}
#: Deletions of 30 days, which is how long the log keeps them, in batches of 100, with cascades into
#: two databases.
DELETIONS = """
INSERT INTO integrity_deletion (id, parent, key, source, batch, recorded_at)
SELECT number, 'auth.User', number::text, 'signal', (number - 1) / 100 * 100 + 1,
       now() - interval '30 days' * (1 - number / %(number)s::float)
FROM generate_series(1, %(number)s) AS number
"""
SEQUENCE = """
SELECT setval(pg_get_serial_sequence('integrity_deletion', 'id'), max(id)) FROM integrity_deletion
"""
CASCADES = """
INSERT INTO integrity_cascade
    (batch, database, parent, deletions, size, state, due_at, recorded_at, dispatched_at, attempts,
     rows, barrier, done_at, verified_at, ended_at)
SELECT batch, alias, 'auth.User', ids, size, 'verified', NULL, moment,
       moment + interval '0.1 s', 1, rows, 1, moment + interval '0.3 s',
       moment + interval '61 s', moment + interval '61 s'
FROM (
    SELECT batch, array_agg(id ORDER BY id), count(*), min(recorded_at),
           jsonb_object_agg(id, '{"blog.Post.author": 3}'::jsonb)
    FROM integrity_deletion GROUP BY batch
) AS found (batch, ids, size, moment, rows), unnest(array['blog_db', 'shop_db']) AS alias
"""
INDEXES = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
WHERE indrelid = ANY(%s::regclass[]) AND NOT indisunique
"""


def run(stage: Stage) -> Iterator[Result]:
    """Yield the results of B10."""
    stage.clear()
    empty = Snapshot.of("default")
    _fill(stage, stage.scale.deletions)
    with (
        stage.client() as full,
        stage.client(env=empty.environment) as other,
    ):
        yield from _compared(stage, {"full": full, "empty": other})
    empty.restore()
    empty.drop()


def _compared(stage: Stage, clients: dict[str, Client]) -> Iterator[Result]:
    took: dict[str, dict[str, list[float]]] = {name: {} for name in clients}
    for client in clients.values():
        client.ask("lib.log_steps.measure")
    for number in range(stage.scale.rounds):
        for name in sorted(clients, reverse=bool(number % 2)):
            runs = [clients[name].ask("lib.log_steps.measure") for _ in range(TIMES)]
            for step in TITLES:
                middle = sorted(run[step] for run in runs)[TIMES // 2]
                took[name].setdefault(step, []).append(middle)
        line = ", ".join(
            f"{step} {'/'.join(short(took[name][step][-1]) for name in clients)}" for step in TITLES
        )
        stage.tell(f"round {number + 1} of {stage.scale.rounds}: {line} ms")
    for step, title in TITLES.items():
        detail = {f"{name}_ms": spread(took[name][step]) for name in clients}
        result = Result.of(
            "B10" if step == "claim" else f"B10.{step}",
            f"{title}: {stage.scale.deletions:,} finished deletions beside an empty log",
            ratios(took["full"][step], took["empty"][step]),
            TARGET,
            detail=detail,
        )
        if not result.ok:
            detail.update(clients["full"].ask("lib.log_steps.explain", step))
        yield result


def _fill(stage: Stage, number: int) -> None:
    """Fill the log with `number` deletions. Indexes are created afterwards, which is faster."""
    started = time.monotonic()
    tables = [Deletion._meta.db_table, Cascade._meta.db_table]
    with connections["default"].cursor() as cursor:
        cursor.execute("SET maintenance_work_mem = '1GB'; SET session_replication_role = replica")
        cursor.execute(INDEXES, [tables])
        indexes = cursor.fetchall()
        for name, _ in indexes:
            cursor.execute(f"DROP INDEX {name}")
        cursor.execute(DELETIONS, {"number": number})
        cursor.execute(SEQUENCE)
        cursor.execute(CASCADES)
        for _, definition in indexes:
            cursor.execute(definition)
        for table in tables:
            cursor.execute(f"VACUUM (ANALYZE) {table}")
        cursor.execute("RESET maintenance_work_mem; RESET session_replication_role")
    took = time.monotonic() - started
    stage.tell(f"a log of {number:,} finished deletions was made in {took:.0f} s")
