"""Create the project's tables as their owner, and grant privileges on them."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command

from sandbox.environment import DATABASES, of_roles


def make(**options: Any) -> None:
    """Migrate every database and grant the web and worker roles. Django must be set up."""
    for alias in DATABASES:
        call_command("migrate", database=alias, verbosity=0, interactive=False, **options)
    grant()


def grant() -> None:
    """Grant privileges to the web and worker roles, if there are separate roles."""
    if of_roles():
        call_command("grant_roles")
