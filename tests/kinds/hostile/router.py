"""Where the models of this folder live: each says it itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import Model

LABEL = "hostile"


class HostileRouter:
    """Answers for this app only."""

    def db_for_read(self, model: type[Model], **_hints: Any) -> str | None:
        return next(iter(self.databases_for(model)), None)

    db_for_write = db_for_read

    def databases_for(self, model: type[Model]) -> Sequence[str]:
        return (model.home,) if model._meta.app_label == LABEL else ()

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **_hints: Any
    ) -> bool | None:
        if app_label != LABEL or model_name is None:
            return None
        return db == apps.get_model(LABEL, model_name).home
