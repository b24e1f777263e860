"""A mixin for admins of models in several databases, and checks of such admins."""

from __future__ import annotations

from django.core import checks

from . import join_checks, permission_checks


def connect() -> None:
    """Register the checks."""
    for check in join_checks.CHECKS:
        checks.register(check)
    for check in permission_checks.DEPLOYED:
        checks.register(check, deploy=True)
