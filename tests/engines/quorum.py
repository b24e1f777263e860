"""The project's settings, with quorum queues."""

# ruff: noqa: F403 - the usual form of Django settings that change others

from __future__ import annotations

from apps.integrity import routing
from config.settings import *
from config.settings import DATABASE_ROUTING_RULES

CELERY_TASK_DEFAULT_QUEUE_TYPE = CELERY_TASK_CREATE_MISSING_QUEUE_TYPE = "quorum"
CELERY_TASK_QUEUES = routing.task_queues(sorted({*DATABASE_ROUTING_RULES.values()}), quorum=True)
