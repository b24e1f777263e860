"""Read-only figures: the only source for the command line, the pages and the metrics."""

from __future__ import annotations

from ..log.renaming import Kind
from .cards import (
    BEAT_SILENT_SECONDS,
    BEHIND_SECONDS,
    WORKER_SILENT_SECONDS,
    Card,
    Overview,
    overview,
)
from .effects import (
    Effect,
    Limits,
    RelationRow,
    Uncounted,
    catalogue,
    columns,
    exists,
    preview,
    repairs,
)
from .elsewhere import Elsewhere, elsewhere
from .fields import along
from .health import Health, health
from .lists import Page, Suspect, Suspects, audits, blocked, deletions, suspected
from .names import Unknown, under, unknown
from .progress import (
    RATE_SECONDS,
    DatabaseRow,
    Pulse,
    ScanRow,
    Status,
    delays,
    of_log,
    pulses,
    scans,
    status,
    unfinished,
    unproven,
)
from .proofs import Receipt, Step, deletion, left_alone, newest, receipt, receipts, steps
from .shared import Shared
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
    "Health",
    "Kind",
    "Limits",
    "Overview",
    "Page",
    "Pulse",
    "Receipt",
    "RelationRow",
    "ScanRow",
    "Shared",
    "Status",
    "Step",
    "Suspect",
    "Suspects",
    "Throughput",
    "Uncounted",
    "Unknown",
    "along",
    "audits",
    "blocked",
    "catalogue",
    "columns",
    "delays",
    "deletion",
    "deletions",
    "elsewhere",
    "exists",
    "health",
    "left_alone",
    "newest",
    "of_log",
    "overview",
    "preview",
    "pulses",
    "receipt",
    "receipts",
    "repairs",
    "scans",
    "status",
    "steps",
    "suspected",
    "throughput",
    "under",
    "unfinished",
    "unknown",
    "unproven",
]
