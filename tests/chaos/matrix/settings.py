"""The storm's settings, with less to wait for: verification, and messages of the dead."""

# ruff: noqa: F403, F405 - the usual form of Django settings that change others

import os

from apps.integrity.routing import PERIODS, beat_schedule
from tests.chaos.storm.settings import *

#: How often beat sends its tasks, in seconds: a scene may ask for more.
TICK = float(os.environ.get("MATRIX_TICK", "5"))
CELERY_BEAT_SCHEDULE = beat_schedule(
    {**PERIODS, "integrity.dispatch": TICK, "integrity.maintain": TICK}
)

# Longer than every recovery that is measured here: none of them may come from a message that
# Redis gives out again. `Stage.age_lost` lets those of the dead come due when all is measured.
CELERY_VISIBILITY_TIMEOUT = 40
CELERY_BROKER_TRANSPORT_OPTIONS = {
    **CELERY_BROKER_TRANSPORT_OPTIONS,
    "visibility_timeout": CELERY_VISIBILITY_TIMEOUT,
}
