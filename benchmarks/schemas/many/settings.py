"""A small project with MANY_DATABASES child databases, on MANY_SERVER or in SQLite files.

MANY_SERVER is the URL of a PostgreSQL server without a database; else MANY_FOLDER is the folder of
the files.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from .router import CHILDREN


def _database(alias: str) -> dict[str, Any]:
    if not (server := os.environ.get("MANY_SERVER")):
        folder = os.environ["MANY_FOLDER"]
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": f"{folder}/{alias}.sqlite3",
            "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 30},
        }
    url = urlsplit(server)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": f"many_{alias}",
        "USER": url.username,
        "PASSWORD": url.password,
        "HOST": url.hostname,
        "PORT": url.port,
        "CONN_MAX_AGE": None,
    }


SECRET_KEY = "a benchmark has no secrets"  # noqa: S105
USE_TZ = True
ROOT_URLCONF = "apps.integrity.urls"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "apps.integrity",
    "benchmarks.schemas.many",
]
DATABASES = {alias: _database(alias) for alias in ("default", *CHILDREN)}
DATABASE_ROUTERS = [
    "benchmarks.schemas.many.router.ManyRouter",
    "apps.integrity.routers.LogRouter",
]
MIGRATION_MODULES = {"many": None}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INTEGRITY: dict[str, Any] = {"wakeups": False, "grace_seconds": 0.001, "figures_seconds": 1e-9}
