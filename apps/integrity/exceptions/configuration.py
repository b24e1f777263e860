"""Errors about what a project has declared, set or asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError

from .base import CrossDatabaseError
from .redaction import plain
from .suggestions import unknown

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Longer names are truncated: they may come from a forged message.
NAME_CHARS = 100


class InvalidSetting(CrossDatabaseError, ImproperlyConfigured):
    """A setting has an unusable value."""


class RouterFailed(CrossDatabaseError, ImproperlyConfigured):
    """A router of the project raised an error."""

    def __init__(self, router: object, method: str, model: str, error: BaseException) -> None:
        kind = type(router)
        self.router, self.method = f"{kind.__module__}.{kind.__qualname__}", method
        self.model, self.cause, self.text = model, type(error).__name__, plain(error)
        super().__init__(
            f"DATABASE_ROUTERS: {self.router}.{method}() raises {self.cause} for {model}"
            f" ({self.text}): it has to return an alias for each model of the project, or None"
        )


class UnknownName(CrossDatabaseError, LookupError):
    """A model, relation or database that the catalogue does not know."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, plain(name, NAME_CHARS), tuple(known)
        super().__init__(unknown(kind, self.name, self.known))


class InvalidName(CrossDatabaseError, ValueError):
    """A model or alias cannot be renamed like this. The message lists the known names."""


class InvalidRole(CrossDatabaseError, ValueError):
    """No privileges are granted to a role of that name. The message states why."""

    def __init__(self, role: str, why: str) -> None:
        self.role = role
        super().__init__(
            f"no privileges are granted to {role[:NAME_CHARS]!r}: {why}. Name a separate role,"
            " with which one kind of process logs in"
        )


class UnusablePolicy(CrossDatabaseError):
    """An `on_delete` that cannot be carried out in the child's database."""


class TriggersRefused(CrossDatabaseError, CommandError):
    """Triggers were not installed: they would give privileges to other roles, or replace theirs.

    The message states the remedy.
    """


class TablesHeld(CrossDatabaseError, CommandError):
    """Triggers could not be changed: other transactions locked their tables at each attempt."""

    def __init__(self, database: str, held: Iterable[object]) -> None:
        self.database = database
        super().__init__(
            f"the triggers in {database!r} are not as the settings ask: "
            + "; ".join(map(str, held))
        )


class LogNeeded(CrossDatabaseError, CommandError):
    """The app's tables were not dropped: work would be lost, or deletes would fail."""

    def __init__(self, database: str, reasons: Iterable[str]) -> None:
        self.database = database
        super().__init__(
            f"nothing was dropped in {database!r}: "
            + "; ".join(reasons)
            + '. Then migrate again. To drop it all the same: INTEGRITY = {"drop_log": True}'
        )
