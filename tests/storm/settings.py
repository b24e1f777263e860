"""The project's settings with small bounds: more steps, more places to die at, less to wait."""

# ruff: noqa: F403 - the usual form of Django settings that change others

from apps.integrity.routing import PERIODS, beat_schedule
from config.settings import *

INTEGRITY = {
    "grace_seconds": 3.0,
    "claim_keys": 50,
    "statement_rows": 100,
    "statement_rows_max": 100,
}

# The dispatch tick stays as it is. Verification is asked for more often, to see its end.
CELERY_BEAT_SCHEDULE = beat_schedule({**PERIODS, "integrity.maintain": 10.0})
