"""Installs the catalogue in this process: stand-ins for `on_delete`, guards and receivers.

When a new catalogue is discovered, the installation of the previous one is undone first. It is
discovered again when settings or models change, mostly in tests. No queries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import router
from django.db.models.signals import class_prepared
from django.db.utils import ConnectionRouter

from .. import conf, declared, relations, routers
from ..backends import selection
from ..backends.postgresql.triggers import telling
from ..exceptions import CrossDatabaseError
from ..exceptions.loggers import logger_of
from ..relations import discovery
from . import collector, historical, receivers, stating, triggers

if TYPE_CHECKING:
    from ..relations import Catalogue, Model

logger = logger_of("integrity.installation")

#: The settings that the catalogue depends on.
SETTINGS = frozenset(
    {
        *("INTEGRITY", "INSTALLED_APPS", "DATABASES", "DATABASE_ROUTERS"),
        *("DATABASE_ROUTING_RULES", "AUTH_USER_MODEL"),
    }
)

#: The installed catalogue, and the settings that it was installed with.
_current: list[Catalogue] = []
_installed_with: list[tuple[object, ...]] = []


def install() -> None:
    """Discover the relations, adopt their fields and connect the receivers; then follow changes."""
    if follow not in discovery.observers:
        discovery.observers.append(follow)
    setting_changed.connect(_renew, dispatch_uid="integrity.installation")
    class_prepared.connect(_forget, dispatch_uid="integrity.installation")
    class_prepared.connect(historical.follow, dispatch_uid="integrity.historical")
    discovery.forget()
    triggers.require(relations.catalogue())


def follow(catalogue: Catalogue) -> None:
    """Install this catalogue in place of the previous one, unless it names an unusable step."""
    require(catalogue)
    while _current:
        before = _current.pop()
        collector.release(before)
        receivers.disconnect()
    collector.adopt(catalogue)
    receivers.connect(catalogue)
    if any(map(conf.current().by_trigger, catalogue.parents)):
        telling.connect(stating.current, stating.is_stated)
    else:
        telling.disconnect()
    _current.append(catalogue)
    _installed_with[:] = [_settings()]


def require(catalogue: Catalogue) -> None:
    """Create the erasure steps. Raises `InvalidSetting` where one cannot be used."""
    _ = catalogue.along_steps


def _settings() -> tuple[object, ...]:
    given = conf.current()
    return given.relations, given.capture, given.ignored, given.unconstrained, given.steps


def _renew(*, setting: str, **_: Any) -> None:
    """Discover again. If a test sets an invalid value on purpose, the catalogue stays as it was."""
    if setting not in SETTINGS:
        return
    # Django's own receivers reset these too, but may run later than this one.
    conf.current.cache_clear()
    routers.forget()
    selection.forget()
    if setting == "DATABASE_ROUTERS":
        router.routers = ConnectionRouter().routers
    try:
        if setting == "INTEGRITY" and _installed_with == [_settings()]:
            return
        here = apps.is_installed(str(declared.__package__))
        discovery.replace(relations.discover() if here else relations.Catalogue(()))
    except (CrossDatabaseError, ImproperlyConfigured, ImportError, LookupError) as error:
        logger.warning("the catalogue stays as it was, %s cannot be used: %s", setting, error)


def _forget(sender: Model, **_: Any) -> None:
    """A model class was created: discover again at the next access."""
    if apps.ready and sender._meta.apps is apps:
        discovery.forget()
