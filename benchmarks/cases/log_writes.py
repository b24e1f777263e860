"""B11: what a deletion costs the log: row versions, WAL and space, in bursts and in a trickle.

Two child databases, one row in each. Nothing is vacuumed, so the space is that of a burst, dead
rows included. The log is compared with one that has a row for each deletion and child database,
which was measured on PostgreSQL 18: `A_ROW_EACH`. These figures are counts, and no times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connections, transaction
from django.test import override_settings

from apps.integrity import capture, cascade
from apps.integrity.cascade import verification
from apps.integrity.queues import dispatch

from ..lib import rows
from ..lib.result import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..lib.stage import Stage

DATABASES = ("blog_db", "shop_db")
TABLES = ("integrity_deletion", "integrity_cascade")
FIRST = 1_000_000_000
#: Deletions of the trickle, each recorded and cascaded before the next one.
TRICKLE = 200
#: Parameter: the tables.
VERSIONS = """
SELECT pg_stat_force_next_flush(),
       (SELECT sum(n_tup_ins + n_tup_upd) FROM pg_stat_user_tables WHERE relname = ANY(%s))
"""
WAL = "SELECT pg_current_wal_insert_lsn() - '0/0'"
SPACE = "SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest(%s::text[]) AS name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the log has written. Bytes, and versions of rows."""

    versions: float
    wal: float
    space: float

    def since(self, before: Cost, deletions: int) -> Cost:
        """Return the cost of each of the deletions made since then."""
        return Cost(
            versions=(self.versions - before.versions) / deletions,
            wal=(self.wal - before.wal) / deletions,
            space=(self.space - before.space) / deletions,
        )


#: A log with a row for each deletion and child database: 10,000 at once, and one after another.
A_ROW_EACH = {
    "burst": Cost(versions=14.0, wal=8_230, space=12_900),
    "trickle": Cost(versions=14.0, wal=7_620, space=12_900),
}
#: Title and targets: the share of what `A_ROW_EACH` costs.
MEASURES = {
    "versions": ("row versions", {"burst": 1 / 6, "trickle": 0.75}),
    "wal": ("bytes of WAL", {"burst": 1 / 7, "trickle": 0.7}),
    "space": ("bytes on disk before a vacuum", {"burst": 1 / 5, "trickle": None}),
}


def run(stage: Stage) -> Iterator[Result]:
    """Yield the results of B11."""
    burst = 10_000 if not stage.scale.quick else 2_000
    ways: dict[str, tuple[int, Callable[[range], None]]] = {
        "burst": (burst, _at_once),
        "trickle": (TRICKLE, _one_by_one),
    }
    with override_settings(
        INTEGRITY={**settings.INTEGRITY, "grace_seconds": 0.001, "wakeups": False}
    ):
        for way, (number, live) in ways.items():
            cost = _cost(stage, number, live)
            stage.tell(f"{way}: {cost}")
            for name, (title, targets) in MEASURES.items():
                mine, theirs = getattr(cost, name), getattr(A_ROW_EACH[way], name)
                yield Result.of(
                    f"B11.{way}.{name}",
                    f"{title} of a deletion in the log, {number:,} in a {way},"
                    " beside a row for each deletion and database",
                    [mine / theirs],
                    targets[way],
                    detail={"each": round(mine, 1), "beside": theirs},
                )


def _cost(stage: Stage, number: int, live: Callable[[range], None]) -> Cost:
    stage.clear()
    keys = range(FIRST, FIRST + number)  # of no user, so that only the log writes here
    rows.content(keys, posts=1, comments=0, orders=1)
    rows.analyze()
    live(keys[:1])  # what is created once
    before = _written()
    live(keys[1:])
    after = _written()
    if left := rows.left(keys):
        raise AssertionError(f"{left} rows are left")
    return after.since(before, number - 1)


def _at_once(keys: range) -> None:
    _record(keys)
    _cascade()
    _verify()


def _one_by_one(keys: range) -> None:
    for at in range(len(keys)):
        _record(keys[at : at + 1])
        _cascade()
    _verify()


def _record(keys: range) -> None:
    with transaction.atomic():
        capture.record((User, keys), using="default")


def _cascade() -> None:
    dispatch.sweep("default")
    for database in DATABASES:
        cascade.drain(database, seconds=600)


def _verify() -> None:
    for database in DATABASES:
        found = verification.verify(database, seconds=600)
        assert found.verified, found


def _written() -> Cost:
    with connections["default"].cursor() as cursor:
        for _ in range(2):  # the first one publishes this session's own figures
            cursor.execute(VERSIONS, [[*TABLES]])
        ((_, versions),) = cursor.fetchall()
        cursor.execute(WAL)
        ((wal,),) = cursor.fetchall()
        cursor.execute(SPACE, [[*TABLES]])
        ((space,),) = cursor.fetchall()
    return Cost(versions=float(versions), wal=float(wal), space=float(space))
