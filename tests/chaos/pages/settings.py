"""The project's settings with short waits before verification, and pages without a login.

The table of users is empty during one of the faults, so whoever looks is in no table.
"""

# ruff: noqa: F403 - the usual form of Django settings that change others

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.integrity.routing import PERIODS, beat_schedule
from config.settings import *
from config.settings import INTEGRITY, MIDDLEWARE

from . import GRACE_SECONDS, TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse

INTEGRITY = {
    **INTEGRITY,
    "grace_seconds": GRACE_SECONDS,
    "unproven_seconds": 4.0,
    "healthz_token": TOKEN,
}
#: Verification is asked for more often, to see its end.
CELERY_BEAT_SCHEDULE = beat_schedule({**PERIODS, "integrity.maintain": 2.0})

SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
MIDDLEWARE = [*MIDDLEWARE, f"{__name__}.on_call"]


def on_call(get_response: Callable[[HttpRequest], HttpResponse]) -> object:
    """Middleware: every request is that of a superuser who is in no table."""

    def answer(request: HttpRequest) -> HttpResponse:
        from django.contrib.auth.models import User

        request.user = User(username="on-call", is_staff=True, is_superuser=True)
        return get_response(request)

    return answer
