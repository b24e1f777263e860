"""The storm's settings, with less to wait for: verification, and messages of the dead."""

# ruff: noqa: F403, F405 - the usual form of Django settings that change others

from apps.integrity.routing import PERIODS, beat_schedule
from tests.chaos.storm.settings import *

CELERY_BEAT_SCHEDULE = beat_schedule({**PERIODS, "integrity.maintain": 5.0})

# Longer than every recovery that is measured here: none of them may come from a message that
# Redis gives out again. Short enough to see that such a message does no harm.
CELERY_VISIBILITY_TIMEOUT = 40
CELERY_BROKER_TRANSPORT_OPTIONS = {
    **CELERY_BROKER_TRANSPORT_OPTIONS,
    "visibility_timeout": CELERY_VISIBILITY_TIMEOUT,
}
