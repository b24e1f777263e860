"""The project's settings, with models whose tables the benchmarks fill."""

# ruff: noqa: F403 - the usual form of Django settings that change others

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
)

INSTALLED_APPS = [
    *INSTALLED_APPS,
    "benchmarks.schemas.parents",
    "benchmarks.schemas.children",
    "benchmarks.schemas.today",
]
DATABASE_ROUTING_RULES = {**DATABASE_ROUTING_RULES, "children": "blog_db"}
# No migrations: a benchmark makes its tables anew, and fills them before it makes their indexes.
MIGRATION_MODULES = {"parents": None, "children": None}

CELERY_TASK_QUEUES = {
    **routing.task_queues(["blog_db", "shop_db"]),
    **routing.own_exchange("today.blog_db", "today.shop_db"),
}
# What is measured is the cascade: scans, verification and purge are due at other times.
CELERY_BEAT_SCHEDULE = {"integrity.dispatch": routing.BEAT_SCHEDULE["integrity.dispatch"]}

# Homes of no model: files that a probe takes for its `default` and `blog_db`.
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
