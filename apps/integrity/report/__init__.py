"""Read-only figures: the only source for the command line, the pages and the metrics."""

from __future__ import annotations

from .cards import (
    BEAT_SILENT_SECONDS,
    BEHIND_SECONDS,
    WORKER_SILENT_SECONDS,
    Card,
    Overview,
    overview,
)
from .effects import Effect, Elsewhere, RelationRow, catalogue, columns, elsewhere, preview, repairs
from .lists import (
    Page,
    Suspect,
    Suspects,
    audits,
    blocked,
    deletions,
    suspected,
)
from .progress import (
    RATE_SECONDS,
    DatabaseRow,
    Pulse,
    ScanRow,
    Status,
    delays,
    of_log,
    scans,
    status,
    unfinished,
    unproven,
)
from .proofs import Receipt, Step, deletion, newest, receipt, receipts, steps
from .throughput import BARS, DAY_SECONDS, Throughput, throughput

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
    "columns",
    "delays",
    "deletion",
    "deletions",
    "elsewhere",
    "newest",
    "of_log",
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
    "unfinished",
    "unproven",
]
