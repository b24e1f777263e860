"""The benchmarks' settings, with four more databases."""

# ruff: noqa: F403 - the usual way to extend Django settings

from __future__ import annotations

from apps.integrity import routing
from benchmarks.schemas.settings import *
from benchmarks.schemas.settings import (
    CELERY_TASK_QUEUES,
    DATABASE_ROUTERS,
    DATABASES,
    INSTALLED_APPS,
    MIGRATION_MODULES,
)
from config.settings import database

from .router import SHARDS

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks.schemas.shards"]
MIGRATION_MODULES = {**MIGRATION_MODULES, "shards": None}
DATABASES = {**DATABASES, **{alias: database(f"DATABASE_URL_{alias.upper()}") for alias in SHARDS}}
DATABASE_ROUTERS = ["benchmarks.schemas.shards.router.ShardRouter", *DATABASE_ROUTERS]
CELERY_TASK_QUEUES = {**CELERY_TASK_QUEUES, **routing.task_queues(SHARDS)}
