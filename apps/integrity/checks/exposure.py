"""Settings that Celery's workers expose to inspection. Celery is not imported."""

from __future__ import annotations

from typing import Any

from django.core import checks

from .. import relations
from .celery import PACKAGE
from .celery_options import project_app

#: A setting that every Django project has and Celery has not.
OF_DJANGO = "INSTALLED_APPS"


def shown(**_: Any) -> list[checks.CheckMessage]:
    """W023, of `check --deploy`: the Celery app was given all of Django's settings."""
    app = project_app()
    if app is None or app.conf.get(OF_DJANGO) is None or not relations.catalogue().relations:
        return []
    return [
        checks.Warning(
            f"The Celery app {app.main!r} was given all of Django's settings: anyone who may"
            " query a worker (Flower, `celery inspect conf`) reads the broker's password in"
            " CELERY_BROKER_URL, and what CACHES or SENTRY_DSN hold.",
            hint=f"from {PACKAGE}.routing import CeleryConfig, and"
            " app.config_from_object(CeleryConfig(settings)) in place of"
            ' app.config_from_object("django.conf:settings", namespace="CELERY").',
            obj=app.main,
            id="integrity.W023",
        )
    ]


DEPLOYED = (shown,)
