"""The checks of `manage.py check`. Each message has a remedy.

One file per subject. Only the checks tagged `Tags.database` query, and they run only for the
databases that are named: by `check --database`, or by `migrate`. The ids are listed in
docs/reference/checks.md.
"""

from __future__ import annotations

from django.core import checks

from . import (
    celery,
    celery_broker,
    celery_worker,
    databases,
    exposure,
    files,
    keys,
    natural,
    round_trips,
    schemas,
    settings,
    shapes,
    soft_deletes,
    waits,
)


def connect() -> None:
    """Register the checks."""
    for check in (
        *(*keys.CHECKS, *natural.CHECKS, *round_trips.CHECKS, *shapes.CHECKS),
        *(*settings.CHECKS, *celery.CHECKS, *celery_broker.CHECKS, *celery_worker.CHECKS),
        *(*waits.CHECKS, *schemas.CHECKS),
        *(*soft_deletes.CHECKS, *files.CHECKS),
    ):
        checks.register(check)
    for check in (*waits.DEPLOYED, *exposure.DEPLOYED):
        checks.register(check, deploy=True)
    for check in databases.CHECKS:
        checks.register(check, checks.Tags.database)
