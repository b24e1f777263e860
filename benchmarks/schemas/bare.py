"""Settings without the product and without models in other databases: the floor."""

# ruff: noqa: F403 - the usual way to extend Django settings

from __future__ import annotations

from .settings import *

INSTALLED_APPS = [
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
]
DATABASE_ROUTING_RULES: dict[str, str] = {}
MIGRATION_MODULES: dict[str, None] = {}
