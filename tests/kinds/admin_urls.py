"""An admin of the kinds that the sample apps have not, under the project's addresses."""

from __future__ import annotations

from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User
from django.urls import path

from apps.integrity.admin import CrossDatabaseAdminMixin, DashboardAdmin
from apps.integrity.models import Dashboard

from .left.models import Protecting
from .parents.models import Guarded, Owner
from .right.models import Restricting


class MixedAdmin(CrossDatabaseAdminMixin, ModelAdmin):
    pass


site = AdminSite(name="admin")
site.register(User, UserAdmin)
site.register([Guarded, Owner, Protecting, Restricting], MixedAdmin)
site.register(Dashboard, DashboardAdmin)
urlpatterns = [path("admin/", site.urls)]
