"""What `manage.py check` finds out about the project, each with its remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.core import checks

from . import conf, relations, triggers

if TYPE_CHECKING:
    from collections.abc import Sequence


def connect() -> None:
    """Register the checks."""
    checks.register(captured, checks.Tags.database)
    checks.register(named)


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


def named(**_: Any) -> list[checks.CheckMessage]:
    """E002: the settings name a relation or a parent that is none: they do not do what they say."""
    known, settings = relations.catalogue(), conf.current()
    subjects = {
        "scan_policy": ("relation", [each.label for each in known.relations]),
        "capture": ("parent", list(known.parents)),
    }
    return [
        checks.Error(
            f"INTEGRITY[{setting!r}] names {name!r}, which is no {what} of this project.",
            hint=f"Known: {', '.join(labels) or 'none'}.",
            obj=name,
            id="integrity.E002",
        )
        for setting, (what, labels) in subjects.items()
        if isinstance(given := getattr(settings, setting), Mapping)
        for name in given
        if name not in labels
    ]
