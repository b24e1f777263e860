"""The project's settings, with the benchmarks' models."""

# ruff: noqa: F403 - the usual way to extend Django settings

from __future__ import annotations

import tempfile
from pathlib import Path

from apps.integrity import routing
from config.settings import *
from config.settings import (
    DATABASE_OPTIONS,
    DATABASE_ROUTING_RULES,
    DATABASES,
    INSTALLED_APPS,
    INTEGRITY,
)

INSTALLED_APPS = [
    *INSTALLED_APPS,
    "benchmarks.schemas.parents",
    "benchmarks.schemas.children",
    "benchmarks.schemas.today",
]
DATABASE_ROUTING_RULES = {**DATABASE_ROUTING_RULES, "children": "blog_db"}
# No migrations: benchmarks create their tables, and create indexes after filling them.
MIGRATION_MODULES = {"parents": None, "children": None}

CELERY_TASK_QUEUES = {
    **routing.task_queues(["blog_db", "shop_db"]),
    **routing.own_exchange("today.blog_db", "today.shop_db"),
}
# What raw SQL deletes here is no deletion to record. Triggers have measurements of their own.
INTEGRITY = {**INTEGRITY, "capture": "signal"}
# Only the cascade is measured, so scans, verification and purge are not scheduled.
CELERY_BEAT_SCHEDULE = {"integrity.dispatch": routing.BEAT_SCHEDULE["integrity.dispatch"]}

# SQLite files that a probe uses as `default` and `blog_db`. No model is routed to them.
SQLITE = "django.db.backends.sqlite3"
DATABASES = {
    **DATABASES,
    **{
        alias: {
            "ENGINE": SQLITE,
            "NAME": str(Path(tempfile.gettempdir()) / f"{alias}.sqlite3"),
            "OPTIONS": DATABASE_OPTIONS[SQLITE],
        }
        for alias in ("lite_parents", "lite_children")
    },
}
