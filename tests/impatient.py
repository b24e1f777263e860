"""The project's settings with less to wait for: a lost worker, an outage, a recheck, beat."""

# ruff: noqa: F403 - the usual form of Django settings that change others

from __future__ import annotations

from apps.integrity.routing import PERIODS, beat_schedule
from config.settings import *
from config.settings import INTEGRITY

INTEGRITY = {**INTEGRITY, "grace_seconds": 10.0, "lease_seconds": 3.0, "probe_seconds": 1.0}
CELERY_BEAT_SCHEDULE = beat_schedule({**PERIODS, "integrity.maintain": 5.0})
