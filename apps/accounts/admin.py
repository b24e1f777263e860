"""The admin of users, which says what goes with them in other databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User

from apps.integrity.admin import CrossDatabaseAdminMixin

if TYPE_CHECKING:
    UserModelAdmin = UserAdmin[User]
else:
    UserModelAdmin = UserAdmin

admin.site.unregister(User)


@admin.register(User)
class AccountAdmin(CrossDatabaseAdminMixin, UserModelAdmin):
    """Django's, with what a delete reaches elsewhere."""
