"""Settings of one side of the differential test: `spread.py` says which, from the environment."""

from __future__ import annotations

import os

import environ

from apps.integrity.declared import Relation

from .spread import ALIASES, DEFAULT, SPREAD, current
from .zoo.declared import declared

drawn = current()
SECRET_KEY = "none"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "tests.differential.zoo"]
MIGRATION_MODULES = {"zoo": None}
URLS = dict(
    zip(ALIASES, ("DATABASE_URL", "DATABASE_URL_BLOG_DB", "DATABASE_URL_SHOP_DB"), strict=True)
)


def database(alias):
    """An empty database of this process alone, without any option."""
    if drawn.vendor == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    name = f"differential_{drawn.side}_{alias}_{os.getpid()}"
    return {**environ.Env().db_url(URLS[alias]), "TEST": {"NAME": name}}


DATABASES = {alias: database(alias) for alias in (ALIASES if drawn.side == SPREAD else (DEFAULT,))}

if drawn.side == SPREAD:
    INSTALLED_APPS += ["apps.integrity"]
    DATABASE_ROUTERS = [
        "apps.integrity.routers.LogRouter",
        "tests.differential.router.ZooRouter",
    ]
    INTEGRITY = {
        "wakeups": False,
        "capture": drawn.capture(),
        "statement_rows": drawn.step_rows(),
        "relations": [Relation(*names, **more) for names, more in declared(drawn)],
    }

# What fails is in the answers.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"none": {"class": "logging.NullHandler"}},
    "loggers": {"integrity": {"handlers": ["none"], "propagate": False}},
}
