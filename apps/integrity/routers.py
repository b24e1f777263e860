"""Database routers: for the tables of this app, and for projects with one database per app."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.core.signals import setting_changed
from django.db import DEFAULT_DB_ALIAS

from . import relations
from .exceptions import InvalidSetting

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from django.db.models import Model


class LogRouter:
    """Put it first in `DATABASE_ROUTERS`. It decides only where the tables of this app are."""

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **_: Any
    ) -> bool | None:
        """Return whether `db` gets the table: the log beside parents, some beside children.

        Returns None for models of other apps.
        """
        return relations.holds(db, model_name) if app_label == "integrity" else None


class AppLabelRouter(LogRouter):
    """Route each app to one database, by `settings.DATABASE_ROUTING_RULES`.

    The rules map app labels, or app names as in `INSTALLED_APPS`, to aliases. Apps without a rule
    live in `default`. It includes `LogRouter`. If there are several routers, it comes last.

    Raises:
        InvalidSetting: from each method, if the rules name an unknown app or database.

    Note [Never None, never the hint]: if a router returns None, Django uses `instance._state.db`.
    Then `post.author` would look for its user in the post's database.
    """

    def db_for_read(self, model: type[Model], **_hints: Any) -> str:
        """Return the database of the model's app. See Note [Never None, never the hint]."""
        return home(model._meta.app_label)

    def db_for_write(self, model: type[Model], **_hints: Any) -> str:
        """Return the database of the model's app, the same as for reads."""
        return home(model._meta.app_label)

    def allow_relation(self, _obj1: Model, _obj2: Model, **_hints: Any) -> bool:
        """Return True: relations may cross databases."""
        return True

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **_: Any
    ) -> bool:
        """Return whether `db` is the database of the app. For this app, ask `LogRouter`."""
        own = super().allow_migrate(db, app_label, model_name)
        return db == home(app_label) if own is None else own


def home(app_label: str) -> str:
    """Return the alias of the database in which the app's rows live.

    Raises:
        InvalidSetting: the rules name an unknown app or database.
    """
    given: Mapping[str, str] = getattr(settings, "DATABASE_ROUTING_RULES", {})
    return _rules(*given.items()).get(app_label, DEFAULT_DB_ALIAS)


@functools.lru_cache(maxsize=8)
def _rules(*written: tuple[str, str]) -> Mapping[str, str]:
    """App label → alias."""
    given = dict(written)
    labels = {name: app.label for app in apps.get_app_configs() for name in (app.name, app.label)}
    _refuse_unknown("app", given, labels)
    _refuse_unknown("database", given.values(), settings.DATABASES)
    rules: dict[str, str] = {}
    for name, alias in given.items():
        if rules.setdefault(labels[name], alias) != alias:
            raise InvalidSetting(
                f"DATABASE_ROUTING_RULES sends {labels[name]!r} to {rules[labels[name]]!r} and,"
                f" as {name!r}, to {alias!r}: keep one of them"
            )
    return rules


def _refuse_unknown(kind: str, names: Collection[str], known: Collection[str]) -> None:
    if unknown := sorted({*names} - {*known}):
        raise InvalidSetting(
            f"DATABASE_ROUTING_RULES names the unknown {kind} {', '.join(map(repr, unknown))};"
            f" known: {', '.join(sorted(known))}"
        )


def forget() -> None:
    """Forget the parsed rules, so that they are read from the settings again."""
    _rules.cache_clear()


def _forget(*, setting: str, **_: object) -> None:
    if setting in {"DATABASE_ROUTING_RULES", "DATABASES", "INSTALLED_APPS"}:
        forget()


setting_changed.connect(_forget, dispatch_uid="integrity.routers")
