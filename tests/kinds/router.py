"""Where the models of `tests.kinds` live; everything else is left to the project's router."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import Model

#: App label → its homes. The first one is where the router reads and writes.
HOMES = {
    "parents": ("default",),
    "left": ("test_left",),
    "analytics": ("test_left",),
    "right": ("test_right",),
    "lite": ("test_lite",),
    "filed": ("test_left",),
    "spread": ("test_left", "test_right"),
    "music": ("default",),
}
#: Where tests put models of `music`: model name → alias. Their tables are in all of these.
PLACES: dict[str, str] = {}
EVERYWHERE = ("default", "test_left", "test_right", "test_lite")
#: Tables that exist outside their home, too: (app label, model name) → alias.
COPIES = {("parents", "owner"): "test_right", ("contenttypes", "contenttype"): "test_left"}


class KindsRouter:
    """Answers for the apps of `HOMES` only."""

    def db_for_read(self, model: type[Model], **_hints: Any) -> str | None:
        return self._home(model)

    def db_for_write(self, model: type[Model], **_hints: Any) -> str | None:
        return self._home(model)

    def databases_for(self, model: type[Model]) -> Sequence[str]:
        if model._meta.app_label == "music" and model._meta.model_name in PLACES:
            return (PLACES[model._meta.model_name],)
        return HOMES.get(model._meta.app_label, ())

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **_hints: Any
    ) -> bool | None:
        if app_label == "music":
            return db in EVERYWHERE
        if COPIES.get((app_label, model_name or "")) == db:
            return True
        return db in HOMES[app_label] if app_label in HOMES else None

    def _home(self, model: type[Model]) -> str | None:
        return next(iter(self.databases_for(model)), None)
