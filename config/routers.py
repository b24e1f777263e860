"""Which app lives in which database: `settings.DATABASE_ROUTING`, app label → alias."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import DEFAULT_DB_ALIAS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from django.db.models import Model

INTEGRITY = "integrity"


class AppLabelRouter:
    """One home per app. Apps without a route live in `default`.

    Note [Never None, never the hint]: for a router that answers None, Django follows
    `instance._state.db`, so that `post.author` would look for its user in the post's database.
    """

    def db_for_read(self, model: type[Model], **_hints: Any) -> str:
        """The home of the model's app. See Note [Never None, never the hint]."""
        return home(model._meta.app_label)

    def db_for_write(self, model: type[Model], **_hints: Any) -> str:
        """The home of the model's app: reads and writes go to the same database."""
        return home(model._meta.app_label)

    def allow_relation(self, _obj1: Model, _obj2: Model, **_hints: Any) -> bool:
        """Relations may cross databases; keeping them whole is what `apps.integrity` is for."""
        return True

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **_hints: Any
    ) -> bool:
        """Each app in its home only; the deletion log wherever tracked parents live."""
        if app_label == INTEGRITY:
            # Imported late: the router is loaded before the apps are.
            from apps.integrity import relations

            return relations.holds(db, model_name)
        return db == home(app_label)


def home(app_label: str) -> str:
    """The alias of the database in which the app's rows live.

    Raises `ImproperlyConfigured` where the routing names an unknown app or database.
    """
    return _routing().get(app_label, DEFAULT_DB_ALIAS)


@functools.cache
def _routing() -> Mapping[str, str]:
    routing: dict[str, str] = settings.DATABASE_ROUTING
    _refuse_unknown("app label", routing, {config.label for config in apps.get_app_configs()})
    _refuse_unknown("database", routing.values(), settings.DATABASES)
    return routing


def _refuse_unknown(kind: str, names: Collection[str], known: Collection[str]) -> None:
    if unknown := sorted(set(names) - set(known)):
        message = (
            f"DATABASE_ROUTING names the unknown {kind} {', '.join(map(repr, unknown))}."
            f" Known: {', '.join(sorted(known))}."
        )
        raise ImproperlyConfigured(message)


def _forget_routing(*, setting: str, **_kwargs: Any) -> None:
    if setting in {"DATABASE_ROUTING", "DATABASES", "INSTALLED_APPS"}:
        _routing.cache_clear()


setting_changed.connect(_forget_routing)
