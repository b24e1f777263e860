"""What this process does for the catalogue: stand-ins in fields, guards, receivers. Kept in step.

Takes a catalogue when it is discovered; undoes what was done for the one before. It is discovered
anew when settings or models change that it was read from: in tests, mostly. No queries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import router
from django.db.models.signals import class_prepared
from django.db.utils import ConnectionRouter

from .. import conf, relations, routers
from ..exceptions import CrossDatabaseError
from ..exceptions.loggers import logger_of
from ..relations import discovery
from . import collector, receivers, triggers

if TYPE_CHECKING:
    from ..relations import Catalogue, Model

logger = logger_of("integrity.installation")

#: What the catalogue and its consequences are read from.
SETTINGS = frozenset(
    {
        *("INTEGRITY", "INSTALLED_APPS", "DATABASES", "DATABASE_ROUTERS"),
        *("DATABASE_ROUTING_RULES", "AUTH_USER_MODEL"),
    }
)

#: The catalogue that was acted for last, and what the settings said of it.
_current: list[Catalogue] = []
_said: list[tuple[object, object]] = []


def install() -> None:
    """Discover the relations, adopt their fields, connect the capture; and follow changes."""
    if follow not in discovery.observers:
        discovery.observers.append(follow)
    setting_changed.connect(_renew, dispatch_uid="integrity.installation")
    class_prepared.connect(_forget, dispatch_uid="integrity.installation")
    discovery.forget()
    triggers.require(relations.catalogue())


def follow(found: Catalogue) -> None:
    """Act for this catalogue, and no longer for the one before."""
    while _current:
        before = _current.pop()
        collector.release(before)
        receivers.disconnect()
    collector.adopt(found)
    receivers.connect(found)
    _current.append(found)
    _said[:] = [_settings()]


def _settings() -> tuple[object, object]:
    given = conf.current()
    return given.relations, given.capture


def _renew(*, setting: str, **_: Any) -> None:
    """Discover anew. Where a test breaks a setting on purpose, the catalogue stays as it was."""
    if setting not in SETTINGS:
        return
    # Django and others forget these by receivers of their own, which may come later than this one.
    conf.current.cache_clear()
    routers.forget()
    if setting == "DATABASE_ROUTERS":
        router.routers = ConnectionRouter().routers
    try:
        if setting == "INTEGRITY" and _said == [_settings()]:
            return
        here = apps.is_installed(str(conf.__package__))
        discovery.replace(relations.discover() if here else relations.Catalogue(()))
    except (CrossDatabaseError, ImproperlyConfigured, ImportError, LookupError) as error:
        logger.warning("the catalogue stays as it was, %s cannot be used: %s", setting, error)


def _forget(sender: Model, **_: Any) -> None:
    """A model was made: the next who asks gets a catalogue that knows it."""
    if apps.ready and sender._meta.apps is apps:
        discovery.forget()
