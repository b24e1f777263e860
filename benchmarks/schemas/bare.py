"""The same project without the product and without the models that it keeps whole: the floor."""

# ruff: noqa: F403 - the usual form of Django settings that change others

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
