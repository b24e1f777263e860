"""The project's settings, and files below posts: for the demo only.

The lines are those that a project adds whose models have file fields.
"""

# ruff: noqa: F403 - the usual form of Django settings that change others

from __future__ import annotations

from apps.integrity import routing
from config.settings import *
from config.settings import DATABASE_ROUTING_RULES, INSTALLED_APPS, INTEGRITY, env

INSTALLED_APPS = [*INSTALLED_APPS, "demo.attachments"]
DATABASE_ROUTING_RULES = {**DATABASE_ROUTING_RULES, "attachments": "blog_db"}
MEDIA_ROOT = env.str("MEDIA_ROOT")

# Files go with the rows that name them.
STEPS = {"files": "apps.integrity.contrib.erasure.FieldFiles"}
INTEGRITY = {**INTEGRITY, "steps": STEPS}
# The project's list of queues is fixed: add the one of the step.
PLACES = [*sorted({*DATABASE_ROUTING_RULES.values()}), "step:files"]
vars().update(routing.celery_settings(vars(), databases=PLACES))

# The default is 60 s. A deletion is verified after it, and its files after another.
INTEGRITY = {**INTEGRITY, "grace_seconds": 10.0}
CELERY_BEAT_SCHEDULE = routing.beat_schedule({**routing.PERIODS, "integrity.maintain": 5.0})
