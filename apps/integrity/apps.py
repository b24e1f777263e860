"""Start-up: discover the relations, adopt their fields, connect the capture."""

from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class IntegrityConfig(AppConfig):
    """The app. Its label names its tables and permissions, whatever the package is called."""

    name = __name__.rpartition(".")[0]
    label = "integrity"
    verbose_name = _("Integrity across databases")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Set up the app, without a query or connection: it may run before a process forks."""
        from . import checks
        from .capture import installation, triggers
        from .contrib import admin, unconstrained
        from .operations import renames
        from .queues import notifier

        unconstrained.connect(self)
        installation.install()
        notifier.connect()
        checks.connect()
        admin.connect()
        uid = "integrity.triggers"
        post_migrate.connect(triggers.after_migrate, sender=self, dispatch_uid=uid)
        uid = "integrity.renames"
        post_migrate.connect(renames.after_migrate, sender=self, dispatch_uid=uid)
