"""The tests' settings with the options that the sample project gives its databases."""

# ruff: noqa: F403 - the usual form of Django settings that change others

from __future__ import annotations

from config.settings import DATABASE_OPTIONS

from .settings import *
from .settings import DATABASES

# Tables are made from the models, without the migrations' way to them, which is not the question.
DATABASES = {
    alias: {
        **each,
        "OPTIONS": DATABASE_OPTIONS[each["ENGINE"]],
        "TEST": {**each.get("TEST", {}), "MIGRATE": False},
    }
    for alias, each in DATABASES.items()
}
