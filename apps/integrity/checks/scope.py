"""Limit each check to the apps that were asked about, and report a router that raises."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeAlias

from django.apps import apps
from django.core import checks
from django.db import models

from ..exceptions import RouterFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from django.apps import AppConfig

    Check: TypeAlias = Callable[..., list[checks.CheckMessage]]


def scoped(*functions: Check) -> tuple[Check, ...]:
    """Return the checks, each limited to the apps that `manage.py check APP` names.

    Messages about settings belong to no app and are always shown, as in Django. Where a router
    raises, E016 names it.
    """
    return tuple(_scoped(check) for check in functions)


def _scoped(check: Check) -> Check:
    @functools.wraps(check)
    def kept(
        app_configs: Collection[AppConfig] | None = None, **options: Any
    ) -> list[checks.CheckMessage]:
        try:
            messages = check(app_configs=app_configs, **options)
        except RouterFailed as error:
            return [_failed(error)]
        return [message for message in messages if concerns(message.obj, app_configs)]

    return kept


def concerns(subject: Any, app_configs: Collection[AppConfig] | None) -> bool:
    """Return whether a model, a field or a label belongs to one of those apps, or to no app."""
    model = getattr(subject, "model", subject)
    if isinstance(model, type) and issubclass(model, models.Model):
        label = model._meta.app_label
    else:
        label = str(subject).partition(".")[0]
    known = {config.label for config in apps.get_app_configs()}
    if app_configs is None or label not in known:
        return True
    return label in {config.label for config in app_configs}


def _failed(error: RouterFailed) -> checks.CheckMessage:
    return checks.Error(
        f"{error.router}.{error.method}() raises {error.cause} for {error.model}: {error.text}",
        hint="The router has to return an alias for each model of the project, or None.",
        obj=error.router,
        id="integrity.E016",
    )
