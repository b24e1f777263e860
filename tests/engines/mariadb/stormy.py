"""The sample project's settings for a storm: small claims and steps, and little to wait for."""

# ruff: noqa: F403 - the usual form of Django settings that change others

from __future__ import annotations

from apps.integrity.routing import PERIODS, beat_schedule
from config.settings import *
from config.settings import INTEGRITY

INTEGRITY = {
    **INTEGRITY,
    "grace_seconds": 1.0,
    "lease_seconds": 3.0,
    "probe_seconds": 0.5,
    "claim_keys": 5,
    "statement_rows": 20,
    "statement_rows_max": 20,
}
CELERY_BEAT_SCHEDULE = beat_schedule(
    {**PERIODS, "integrity.dispatch": 1.0, "integrity.maintain": 2.0}
)
