"""The project's settings with small bounds: more steps, more places to die at, less to wait."""

# ruff: noqa: F403 - the usual form of Django settings that change others

import os

from apps.integrity.routing import PERIODS, beat_schedule, celery_settings
from config.settings import *
from config.settings import DATABASE_ROUTING_RULES, DATABASES

from .plan import ALIAS

INTEGRITY = {
    "grace_seconds": 3.0,
    "claim_keys": 50,
    "statement_rows": 100,
    "statement_rows_max": 100,
    "turn_seconds": 0.05,
}

# The dispatch tick stays as it is. Verification is asked for more often, to see its end.
CELERY_BEAT_SCHEDULE = beat_schedule({**PERIODS, "integrity.maintain": 5.0})

# Who is deployed with this knows blog_db under another alias.
if alias := os.environ.get(ALIAS):
    DATABASES = {alias if name == "blog_db" else name: each for name, each in DATABASES.items()}
    DATABASE_ROUTING_RULES = {**DATABASE_ROUTING_RULES, "blog": alias}
    vars().update(celery_settings(vars()))
