"""An admin of parents and children of every kind, under the project's addresses."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.auth.models import User
from django.urls import include, path

from apps.integrity.admin import CrossDatabaseAdminMixin, DashboardAdmin
from apps.integrity.models import Dashboard

from .left import models as left
from .lite import models as lite
from .parents import models as parents
from .right import models as right


class MixedAdmin(CrossDatabaseAdminMixin, ModelAdmin):
    pass


class DecidingAdmin(MixedAdmin):
    """Rows with an even key are nobody's to delete."""

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and (obj is None or obj.pk % 2 == 1)


site = AdminSite(name="admin")
site.register(User)
site.register(Dashboard, DashboardAdmin)
site.register(
    [
        *(parents.Library, left.Book, left.Page, right.BookNote),
        *(parents.Tenant, parents.Account, left.AccountNote),
        *(parents.Mixed, lite.Note, lite.Line),
        *(parents.Station, left.Event, left.EventNote, lite.Reading),
        *(parents.Plant, left.Note, left.NoteReply),
        *(parents.Album, left.Picture, left.Tag),
        *(parents.Forest, left.Node),
        *(parents.Lineage, left.Base, left.Derived),
        *(parents.Giver, left.Nulled, left.Defaulted),
        *(parents.Series, left.Numbered, left.NumberedPart),
        *(parents.Root, left.Shelf, left.Label),
        *(parents.Person, parents.Word),
    ],
    MixedAdmin,
)
site.register(left.Box, DecidingAdmin)
urlpatterns = [
    path("admin/", site.urls),
    path("integrity/", include("apps.integrity.urls")),
]
