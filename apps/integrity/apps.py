"""Start-up: discover the relations, adopt their fields, connect the capture."""

from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class IntegrityConfig(AppConfig):
    """The app, under the label that its tables and permissions keep wherever it is installed."""

    name = __name__.rpartition(".")[0]
    label = "integrity"
    verbose_name = _("Integrity across databases")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """No queries and no connections here: it runs in every process, also before a fork."""
        from . import checks
        from .capture import installation, triggers
        from .contrib import admin
        from .operations import renames
        from .queues import notifier

        installation.install()
        notifier.connect()
        checks.connect()
        admin.connect()
        uid = "integrity.triggers"
        post_migrate.connect(triggers.after_migrate, sender=self, dispatch_uid=uid)
        uid = "integrity.renames"
        post_migrate.connect(renames.after_migrate, sender=self, dispatch_uid=uid)
