"""The figures as Prometheus metrics, read from the database when they are scraped.

So they are correct even if no worker is alive. Needs `prometheus_client` (extra `metrics`), which
nothing else of this app imports. Labels are aliases, relations and states: never keys or names.

Note [Gauges only]: deletions leave the log after `retention_days`, so the number of its rows can
fall, and is no counter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from .. import conf, relations
from ..exceptions import DatabaseUnreachable
from ..exceptions.redaction import plain
from ..log import renaming
from . import delays, shared
from . import status as report_status
from .heartbeats import NEVER, youngest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .rows import DatabaseRow
    from .scans import ScanRow
    from .status import Status

QUANTILES = (0.5, 0.95, 1.0)
#: Metric of a child database → its help, and the figure of `DatabaseRow`.
FIGURES = {
    "integrity_cascade_backlog": ("Deletions that are not done in the database.", "backlog"),
    "integrity_cascade_failing": (
        "Deletions of which an attempt failed there, and that are tried again.",
        "failing",
    ),
    "integrity_cascade_blocked": ("Deletions that wait for an operator there.", "blocked"),
    "integrity_cascade_kept": (
        (
            "Deletions that left rows alone there, because the value was taken over, and that no"
            " operator has acknowledged."
        ),
        "kept",
    ),
    "integrity_cascade_lag_seconds": (
        "Age of the oldest deletion that is not done there; 0 if none.",
        "lag_seconds",
    ),
    "integrity_cascade_unproven": (
        "Deletions that are done there and not verified.",
        "unproven",
    ),
    "integrity_cascade_unproven_seconds": (
        "Age of the oldest deletion that is done there and not verified; 0 if none.",
        "unproven_seconds",
    ),
    "integrity_cascade_rate": ("Deletions finished there per second, in five minutes.", "rate"),
    "integrity_pace_ratio": (
        "Share of full speed that the setting pressure allows there; 0 in quiet hours.",
        "pace",
    ),
    "integrity_deadline_late": ("Deletions that are past their deadline there.", "late"),
    "integrity_deadline_risk_ratio": (
        (
            "Share of the time until a deadline that the work before it takes, at the measured"
            " rate; above 1 it is likely to be missed, and 0 without deadlines."
        ),
        "risk",
    ),
    "integrity_paused": ("1 if work on the database is paused.", "paused"),
}


class Gauge(GaugeMetricFamily):
    """A gauge that escapes its labels, because names in the log are not trusted."""

    def add_metric(self, labels: Sequence[str], value: float, timestamp: Any = None) -> None:
        """Add a sample, with its labels as printable UTF-8."""
        super().add_metric([*map(plain, labels)], value, timestamp)


class IntegrityCollector(Collector):
    """A collector for a registry of prometheus_client, also for one of your own."""

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Return nothing, so that registering it queries no database."""
        return ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the current figures; if no log answers, only that it does not."""
        try:
            status = report_status.collect_status()
        except DatabaseUnreachable:
            logs = relations.catalogue().log_databases
            yield _up("integrity_log_up", logs, down=logs)
            return
        yield from families(status)


def families(status: Status) -> Iterator[GaugeMetricFamily]:
    """Yield the metrics of a status; an empty one has their names and help texts only."""
    logs = relations.catalogue().log_databases
    yield _up("integrity_log_up", logs, down=status["unreachable_logs"])
    yield _of_faults(status)
    yield from _of_deletions(status)
    yield from _of_databases(status)
    yield _of_names(status)
    yield from _of_scans(status["scans"])
    yield from _of_processes(status)


def exposition() -> bytes:
    """Return one scrape in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(IntegrityCollector())
    return generate_latest(registry)


#: Shared by all scrapes of this process.
shared_exposition = shared.Shared(exposition)


def _up(name: str, aliases: Iterable[str], *, down: Iterable[str]) -> GaugeMetricFamily:
    of_log = name == "integrity_log_up"
    what = "deletion log can be reached" if of_log else "child database can be worked on"
    gauge = Gauge(name, f"1 if the {what}.", labels=["database"])
    for alias in aliases:
        gauge.add_metric([alias], alias not in down)
    return gauge


def _of_faults(status: Status) -> GaugeMetricFamily:
    gauge = Gauge(
        "integrity_fault",
        "1 for each thing that is wrong, as `integrity status` lists them; names that only the log"
        " knows are one, without a subject.",
        labels=["kind", "subject"],
    )
    found = {
        (str(fault["kind"]), "" if fault["kind"] == "unknown" else str(fault["subject"]))
        for fault in status["faults"]
    }
    for labels in sorted(found):
        gauge.add_metric(labels, 1)
    return gauge


def _of_deletions(status: Status) -> Iterator[GaugeMetricFamily]:
    deletions = Gauge(
        "integrity_deletions", "Rows of the deletion log, by state.", labels=["state"]
    )
    for state, number in status["deletions"].items():
        deletions.add_metric([state], number)
    yield deletions


def _of_databases(status: Status) -> Iterator[GaugeMetricFamily]:
    rows = status["databases"]
    for name, (text, field) in FIGURES.items():
        gauge = Gauge(name, text, labels=["database"])
        for row in rows:
            figures: Mapping[str, Any] = {**row}
            gauge.add_metric([row["database"]], figures[field] or 0)
        yield gauge
    yield _of_deadlines(rows)
    delay = Gauge(
        "integrity_cascade_delay_seconds",
        "Seconds from the record of a deletion until it was done there, in the last five minutes.",
        labels=["database", "quantile"],
    )
    found = delays.delays([row["database"] for row in rows])
    for alias, seconds in found.items():
        for share in QUANTILES:
            delay.add_metric([alias, str(share)], delays.quantile(share, seconds))
    yield delay
    known = [row for row in rows if row["state"] != "unknown"]
    down = [row["database"] for row in known if row["unreachable"]]
    yield _up("integrity_database_up", [row["database"] for row in known], down=down)


def _of_deadlines(rows: Iterable[DatabaseRow]) -> GaugeMetricFamily:
    margin = Gauge(
        "integrity_deadline_margin_seconds",
        "Seconds until the nearest deadline of what is not verified there, less than 0 where it has"
        " passed; absent without one.",
        labels=["database"],
    )
    for row in rows:
        if row["margin_seconds"] is not None:
            margin.add_metric([row["database"]], row["margin_seconds"])
    return margin


def _of_names(status: Status) -> GaugeMetricFamily:
    gauge = Gauge(
        "integrity_unknown_work",
        "Names in open work that the catalogue does not know. No worker processes that work.",
        labels=["kind"],
    )
    kinds = [entry["kind"] for entry in status["unknown"]]
    for kind in renaming.Kind:
        gauge.add_metric([str(kind)], kinds.count(kind))
    return gauge


def _of_scans(rows: list[ScanRow]) -> Iterator[GaugeMetricFamily]:
    both = ["relation", "database"]
    coverage = Gauge(
        "integrity_scan_coverage_ratio", "Share of the current pass that is scanned.", labels=both
    )
    age = Gauge(
        "integrity_scan_guarantee_age_seconds",
        "Every orphan older than this was found; +Inf if no pass has finished.",
        labels=both,
    )
    orphans = Gauge("integrity_scan_orphans", "Orphans that the last scan found.", labels=both)
    suspects = Gauge(
        "integrity_suspects", "Missing parents that wait for a recheck.", labels=["relation"]
    )
    brake = Gauge(
        "integrity_brake_engaged", "1 if the brake refuses a repair.", labels=["relation"]
    )
    for row in rows:
        labels = [row["relation"], row["database"]]
        if row["coverage"] is not None:
            coverage.add_metric(labels, row["coverage"])
        seconds = row["age_seconds"]
        age.add_metric(labels, NEVER if seconds is None else seconds)
        orphans.add_metric(labels, row["orphans"])
    for row in {row["relation"]: row for row in rows}.values():
        suspects.add_metric([row["relation"]], row["waiting"])
        brake.add_metric([row["relation"]], bool(row["brake"]))
    yield from (coverage, age, orphans, suspects, brake)
    yield Gauge(
        "integrity_scan_period_seconds",
        "Time between the starts of two passes over each relation.",
        value=conf.current().scan_period_seconds,
    )


def _of_processes(status: Status) -> Iterator[GaugeMetricFamily]:
    beat = [status["beat"]] if status["beat"] else []
    for name, what, rows in (
        ("worker", "any worker", status["workers"]),
        ("beat", "beat", beat),
    ):
        yield Gauge(
            f"integrity_{name}_heartbeat_age_seconds",
            f"Seconds since {what} was last seen; +Inf if never.",
            value=youngest(rows),
        )
