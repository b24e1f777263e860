"""Figures for Prometheus, computed from the databases at each scrape: right when workers are dead.

Labels are aliases, relations and the names of processes, never keys. Needs `prometheus_client`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily

from . import report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from .report import Card, Overview, ScanRow

#: Of each child database: name, what it says, and its value (None: no sample).
_CARDS = {
    "cascade_backlog": "Cascades and deletions that are not done; counting stops at 10,001.",
    "cascade_blocked": "Cascades that gave up and wait for an operator.",
    "cascade_unverified": "Cascades that are done and not proven yet.",
    "cascade_oldest_pending_seconds": "Age of the oldest cascade that is not done; 0 without one.",
    "cascade_rate": "Cascades finished per second, over five minutes.",
    "database_up": "1 unless work found that the database cannot be reached.",
    "paused": "1 while an operator has stopped work on the database.",
}
#: Of each relation in each child database.
_SCANS = {
    "scan_coverage_ratio": "Share of the pass that is under way; 1 after a finished one.",
    "scan_guarantee_age_seconds": "Every orphan older than this was seen; -1: no scan has ended.",
    "orphans": "Rows without a parent, as the pass under way or the last one saw them.",
    "suspects": "Missing parents of the relation that wait for a second look.",
    "brake_engaged": "1 while the brake refuses to repair the relation.",
}


def exposition() -> bytes:
    """One scrape, in Prometheus's text format. Raises `DatabaseUnreachable` without any log."""
    registry = CollectorRegistry()
    registry.register(_Figures())
    return generate_latest(registry)


class _Figures:
    """What Prometheus's client calls a collector."""

    def describe(self) -> list[Metric]:
        """Nothing: registering asks for no figures."""
        return []

    def collect(self) -> Iterator[Metric]:
        seen = report.overview()
        yield from _of_databases(seen)
        yield from _of_scans(report.scans())
        yield from _of_processes(seen)
        log = _gauge("log_up", "1 while the deletion log answers.", "log")
        for alias in seen.logs:
            log.add_metric([alias], alias not in seen.unreachable_logs)
        yield log


def _of_databases(seen: Overview) -> Iterator[Metric]:
    for name, text in _CARDS.items():
        gauge = _gauge(name, text, "database")
        for card in seen.cards:
            gauge.add_metric([card.database], _value(card, name))
        yield gauge


def _value(card: Card, name: str) -> float:
    values = {
        "cascade_backlog": card.backlog,
        "cascade_blocked": card.blocked,
        "cascade_unverified": card.unverified,
        "cascade_oldest_pending_seconds": card.lag_seconds or 0,
        "cascade_rate": card.throughput.rate,
        "database_up": not card.unreachable,
        "paused": card.paused,
    }
    return float(values[name])


def _of_scans(rows: list[ScanRow]) -> Iterator[Metric]:
    for name, text in _SCANS.items():
        gauge = _gauge(name, text, "relation", "database")
        for row in rows:
            age = row["age_seconds"]
            values = {
                "scan_coverage_ratio": row["coverage"] or 0,
                "scan_guarantee_age_seconds": -1 if age is None else age,
                "orphans": row["orphans"],
                "suspects": row["waiting"],
                "brake_engaged": bool(row["brake"]),
            }
            gauge.add_metric([row["relation"], row["database"]], float(values[name]))
        yield gauge


def _of_processes(seen: Overview) -> Iterator[Metric]:
    worker = _gauge(
        "worker_heartbeat_age_seconds", "Since when the worker has done no work.", "worker"
    )
    for pulse in seen.workers:
        worker.add_metric([pulse["name"]], pulse["seconds_ago"])
    yield worker
    beat = _gauge("beat_heartbeat_age_seconds", "Since when beat has not been seen; -1: never.")
    beat.add_metric([], seen.beat["seconds_ago"] if seen.beat else -1)
    yield beat


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"integrity_{name}", text, labels=labels)
