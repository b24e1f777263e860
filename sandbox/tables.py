"""The tables of the project and the rights to them: made by their owner, once for everybody."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command

from sandbox.environment import DATABASES, of_roles


def make(**options: Any) -> None:
    """Migrate every database, and let the roles of web and workers at it. Django is set up."""
    for alias in DATABASES:
        call_command("migrate", database=alias, verbosity=0, interactive=False, **options)
    grant()


def grant() -> None:
    """Grant what web and workers need, where they have roles of their own."""
    if of_roles():
        call_command("grant_roles")
