"""Whether the project's Celery app has this app's consumer. Celery is not imported."""

from __future__ import annotations

import sys
from typing import Any

from django.core import checks

from . import celery_options
from .celery import PACKAGE

INSTALLER = f"{PACKAGE}.queues.celery_worker"


def unguarded(**_: Any) -> list[checks.CheckMessage]:
    """W024: the project's Celery app was made without `install(app)`."""
    app = celery_options.project_app()
    if (
        app is None
        or not celery_options.uses_celery()
        or celery_options.option("TASK_ALWAYS_EAGER")
    ):
        return []
    worker = sys.modules.get(INSTALLER)
    if worker is not None and worker.is_installed(app):
        return []
    return [
        checks.Warning(
            f"The Celery app {app.main!r} has Celery's own consumer: a malformed message or a"
            " broker fault can end its workers, and messages for a later time can occupy them.",
            hint=f"Below the line that creates the app: from {INSTALLER} import install, and"
            " install(app).",
            obj=app.main,
            id="integrity.W024",
        )
    ]


CHECKS = (unguarded,)
