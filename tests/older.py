"""The project's settings of an older release: without the shop, and without declared relations."""

# ruff: noqa: F403 - the usual form of Django settings that change others

from __future__ import annotations

from config.settings import *
from config.settings import DATABASE_ROUTING_RULES, DATABASES, INSTALLED_APPS

INSTALLED_APPS = [each for each in INSTALLED_APPS if each != "apps.shop"]
DATABASE_ROUTING_RULES = {"blog": DATABASE_ROUTING_RULES["blog"]}
DATABASES = {alias: DATABASES[alias] for alias in ("default", "blog_db")}
ROOT_URLCONF = "apps.integrity.urls"
