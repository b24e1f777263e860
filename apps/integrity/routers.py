"""Where this app's own tables go."""

from __future__ import annotations

from typing import Any

from . import relations


class LogRouter:
    """For the front of `DATABASE_ROUTERS`: decides about this app alone, and leaves the rest."""

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **_: Any
    ) -> bool | None:
        """Beside the parents, the log; beside the children, whose children they are."""
        return relations.holds(db, model_name) if app_label == "integrity" else None
