"""The project's settings, with models whose tables the benchmarks fill."""

# ruff: noqa: F403 - the usual form of Django settings that change others

from __future__ import annotations

import tempfile
from pathlib import Path

from config.settings import *
from config.settings import DATABASE_OPTIONS, DATABASE_ROUTING_RULES, DATABASES, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks.parents", "benchmarks.children"]
DATABASE_ROUTING_RULES = {**DATABASE_ROUTING_RULES, "children": "blog_db"}
# No migrations: each benchmark makes its tables, and fills them before it makes their indexes.
MIGRATION_MODULES = {"parents": None, "children": None}

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
