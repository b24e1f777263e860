"""Where the models of this folder live: each says it itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import Model


class HostileRouter:
    """Answers for one app only."""

    label = "hostile"

    def db_for_read(self, model: type[Model], **_hints: Any) -> str | None:
        return next(iter(self.databases_for(model)), None)

    db_for_write = db_for_read

    def databases_for(self, model: type[Model]) -> Sequence[str]:
        return (model.home,) if model._meta.app_label == self.label else ()

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **_hints: Any
    ) -> bool | None:
        if app_label != self.label or model_name is None:
            return None
        return db == apps.get_model(self.label, model_name).home
