"""The dashboard in the Django admin, and the mixin for a project's own admins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin

from .contrib.admin.mixin import CrossDatabaseAdminMixin
from .dashboard.urls import urls
from .models import Dashboard

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.urls import URLPattern

    DashboardModelAdmin = admin.ModelAdmin[Dashboard]
else:
    DashboardModelAdmin = admin.ModelAdmin

__all__ = ["CrossDatabaseAdminMixin", "DashboardAdmin"]


@admin.register(Dashboard)
class DashboardAdmin(DashboardModelAdmin):
    """The dashboard's pages. The admin cannot add, change or delete rows of the log."""

    def get_urls(self) -> list[URLPattern]:
        """Return the dashboard's pages instead of a change list and forms."""
        return urls(self.admin_site)

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 (Django's signature)
        """Return False for every user."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 (as above)
        """Return False for every user."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 (as above)
        """Return False for every user."""
        return False
