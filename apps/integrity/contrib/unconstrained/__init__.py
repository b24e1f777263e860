"""Keys to other databases without a constraint, in apps whose code is not the project's.

`INTEGRITY["unconstrained"]` lists the apps. Nothing of them is edited, and their migrations run as
they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core import checks
from django.db.models.signals import class_prepared, post_migrate

from ...relations import discovery
from . import keys, left

if TYPE_CHECKING:
    from django.apps import AppConfig


def connect(app: AppConfig) -> None:
    """Free today's keys with each new catalogue, and those of historical models when made."""
    if keys.follow not in discovery.observers:
        discovery.observers.append(keys.follow)
    class_prepared.connect(keys.free_historical, dispatch_uid="integrity.unconstrained")
    post_migrate.connect(left.drop, sender=app, dispatch_uid="integrity.unconstrained")
    for check in left.CHECKS:
        checks.register(check, checks.Tags.database)
