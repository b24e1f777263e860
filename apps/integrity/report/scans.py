"""How far the scan of each relation is in each child database, and what it guarantees."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from .. import relations
from ..backends import clocks
from ..control import circuit_breaker
from ..log.suspects import suspects_by_relation
from ..models import Scan
from .brakes import brakes
from .receipts import iso
from .small_tables import SmallTables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class ScanRow(TypedDict):
    """How far the scan of one relation in one child database is, and what it guarantees.

    `coverage` is the share of the pass under way; every orphan that existed at `covers_at` was seen
    by `last_full_scan`. `suspects` are those that it saw there and that still wait, at most so many
    as `waiting`. `throttle` is the number of keys of the next step. `waiting` counts the
    suspects of the relation that wait for a recheck, whatever database they were seen in;
    `brake` says why they would not be repaired now, or "".
    """

    relation: str
    database: str
    coverage: float | None
    eta_seconds: float | None
    last_full_scan: str | None
    covers_at: str | None
    age_seconds: float | None
    keys_scanned: int
    rows_scanned: int
    suspects: int
    orphans: int
    throttle: int
    waiting: int
    brake: str
    reason: str


def scan_rows() -> list[ScanRow]:
    """Return the scan of each relation in each child database, from the logs that answer."""
    logs = circuit_breaker.answering_logs()
    return [
        row
        for using in logs
        for row in scan_rows_in(using, SmallTables(using), suspects_by_relation(using=using))
    ]


def scan_rows_in(using: str, small: SmallTables, waiting: Mapping[str, int]) -> Iterator[ScanRow]:
    """Yield the scan of each relation in each child database, of one log.

    `waiting` is the number of suspects by relation.
    """
    rows = {(row.relation, row.database): row for row in small.scans}
    refusals = brakes(using, waiting, small)
    for relation in relations.catalogue().relations:
        if relation.parent_databases[0] != using:
            continue
        label = relation.label
        for database in relation.child_databases:
            row = rows.get((label, database)) or Scan()
            yield _row(row, label, database, waiting.get(label, 0), refusals.get(label, ""))


def _row(row: Scan, relation: str, database: str, waiting: int, refusal: str) -> ScanRow:
    under_way = row.began_at is not None
    coverage: float | None = 1.0 if row.finished_at else 0.0
    eta = None
    if row.began_at is not None:
        coverage = min(row.rows / row.expected, 1.0) if row.expected else None
        if coverage:
            eta = (clocks.age_of(row, "lasts") or 0.0) * (1 / coverage - 1)
    return {
        "relation": relation,
        "database": database,
        "coverage": coverage,
        "eta_seconds": eta,
        "last_full_scan": iso(row.finished_at),
        "covers_at": iso(row.covers_at),
        "age_seconds": clocks.age_of(row),
        "keys_scanned": row.keys if under_way else row.last_keys,
        "rows_scanned": row.rows if under_way else row.last_rows,
        "suspects": min(row.missing if under_way else row.last_missing, waiting),
        "orphans": row.orphans if under_way else row.last_orphans,
        "throttle": row.step_keys,
        "waiting": waiting,
        "brake": refusal,
        "reason": row.reason,
    }
