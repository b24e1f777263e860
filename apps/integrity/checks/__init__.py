"""What `manage.py check` finds out about the project, each with its remedy.

A file for each thing that is looked at. Only checks of `Tags.database` query, and those run where
a database is named: `check --database`, and `migrate`. The ids: docs/reference/checks.md.
"""

from __future__ import annotations

from django.core import checks

from . import (
    celery,
    celery_worker,
    databases,
    exposure,
    keys,
    natural,
    round_trips,
    schemas,
    settings,
    shapes,
    waits,
)


def connect() -> None:
    """Register the checks."""
    for each in (
        *(*keys.CHECKS, *natural.CHECKS, *round_trips.CHECKS, *shapes.CHECKS),
        *(*settings.CHECKS, *celery.CHECKS, *celery_worker.CHECKS, *waits.CHECKS, *schemas.CHECKS),
    ):
        checks.register(each)
    for late in (*waits.DEPLOYED, *exposure.DEPLOYED):
        checks.register(late, deploy=True)
    for asking in databases.CHECKS:
        checks.register(asking, checks.Tags.database)
