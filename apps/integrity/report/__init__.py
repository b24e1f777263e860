"""Read-only figures: the only source for the command line, the pages and the metrics."""

from __future__ import annotations

from .cards import (
    BARS,
    BEAT_SILENT_SECONDS,
    BEHIND_SECONDS,
    DAY_SECONDS,
    WORKER_SILENT_SECONDS,
    Card,
    Overview,
    Throughput,
    overview,
    throughput,
)
from .effects import Effect, Elsewhere, RelationRow, catalogue, elsewhere, preview, repairs
from .lists import (
    Page,
    Suspect,
    Suspects,
    audits,
    blocked,
    deletions,
    suspected,
)
from .progress import RATE_SECONDS, DatabaseRow, Pulse, ScanRow, Status, scans, status, unproven
from .proofs import Receipt, Step, deletion, newest, receipt, receipts, steps

__all__ = [
    "BARS",
    "BEAT_SILENT_SECONDS",
    "BEHIND_SECONDS",
    "DAY_SECONDS",
    "RATE_SECONDS",
    "WORKER_SILENT_SECONDS",
    "Card",
    "DatabaseRow",
    "Effect",
    "Elsewhere",
    "Overview",
    "Page",
    "Pulse",
    "Receipt",
    "RelationRow",
    "ScanRow",
    "Status",
    "Step",
    "Suspect",
    "Suspects",
    "Throughput",
    "audits",
    "blocked",
    "catalogue",
    "deletion",
    "deletions",
    "elsewhere",
    "newest",
    "overview",
    "preview",
    "receipt",
    "receipts",
    "repairs",
    "scans",
    "status",
    "steps",
    "suspected",
    "throughput",
    "unproven",
]
