"""The sample project's settings, with short periods, for processes whose clocks are off.

The tasks alone are at work here: Celery's own app, without what the sample's workers add to it. So
what beat does not announce, nobody finds.
"""

from __future__ import annotations

from django.conf import settings

from apps.integrity.routing import CeleryConfig, beat_schedule
from config.settings import *  # noqa: F403
from config.settings import INTEGRITY as SAMPLE

INTEGRITY = {**SAMPLE, "grace_seconds": 0.25, "figures_seconds": 1e-9}
CELERY_BEAT_SCHEDULE = beat_schedule(
    {"integrity.dispatch": 1.0, "integrity.maintain": 1.0, "integrity.scan": 60.0}
)
CELERY_BEAT_MAX_LOOP_INTERVAL = 1
CELERY_WORKER_CONSUMER = "celery.worker.consumer:Consumer"


def plain_app() -> object:
    """Return an app as the README has it."""
    from celery import Celery

    app = Celery("plain")
    app.config_from_object(CeleryConfig(settings))
    app.autodiscover_tasks()
    return app
