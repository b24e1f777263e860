"""What `manage.py check` finds out about the project, each with its remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks

from . import triggers

if TYPE_CHECKING:
    from collections.abc import Sequence


def connect() -> None:
    """Register the checks."""
    checks.register(captured, checks.Tags.database)


def captured(databases: Sequence[str] | None, **_: Any) -> list[checks.CheckMessage]:
    """E001: a trigger that the settings ask for is not there. Run by `check --database`."""
    return [
        checks.Error(
            f"Nothing records deletions of {parent} in {using!r}: its trigger is not there.",
            hint=f"Run `manage.py integrity install-triggers --database {using}`, or `migrate`.",
            obj=parent,
            id="integrity.E001",
        )
        for using in triggers.databases()
        if using in (databases or ())
        for parent in triggers.missing(using)
    ]
