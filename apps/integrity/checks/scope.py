"""What every check keeps to: the apps that were asked about, and a router that raises is named."""

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


def scoped(*found: Check) -> tuple[Check, ...]:
    """Return the checks, each kept to the apps that `manage.py check APP` names.

    Messages about settings are about no app, and always shown, as Django does. Where a router
    raises, E016 says which.
    """
    return tuple(_scoped(each) for each in found)


def _scoped(check: Check) -> Check:
    @functools.wraps(check)
    def kept(
        app_configs: Collection[AppConfig] | None = None, **options: Any
    ) -> list[checks.CheckMessage]:
        try:
            found = check(app_configs=app_configs, **options)
        except RouterFailed as error:
            return [_failed(error)]
        return [each for each in found if concerns(each.obj, app_configs)]

    return kept


def concerns(subject: Any, app_configs: Collection[AppConfig] | None) -> bool:
    """Whether a model, a field or a label is of one of those apps; or of no app at all."""
    model = getattr(subject, "model", subject)
    if isinstance(model, type) and issubclass(model, models.Model):
        label = model._meta.app_label
    else:
        label = str(subject).partition(".")[0]
    known = {each.label for each in apps.get_app_configs()}
    return app_configs is None or label not in known or label in {e.label for e in app_configs}


def _failed(error: RouterFailed) -> checks.CheckMessage:
    return checks.Error(
        f"{error.router}.{error.method}() raises {error.cause} for {error.model}: {error.text}",
        hint="Let the router answer for each model of the project, or None where it has no answer.",
        obj=error.router,
        id="integrity.E016",
    )
