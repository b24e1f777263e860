"""The admin of models whose user lives in another database. No JOIN reaches across."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Model, Q, QuerySet

if TYPE_CHECKING:
    from django.http import HttpRequest

    ModelAdmin = admin.ModelAdmin[Model]
else:
    ModelAdmin = admin.ModelAdmin

SEARCHED_USERS = 1_000


def name_of(row: Model, field: str) -> str:
    """The user's name, or "42 (missing)" where no such user exists."""
    try:
        return str(getattr(row, field))
    except ObjectDoesNotExist:
        return f"{getattr(row, f'{field}_id')} (missing)"


def matching_users(term: str) -> list[Any]:
    """Keys of the users whose name or mail contains every word, one more than are searched."""
    condition = Q()
    for word in term.split():
        condition &= Q(username__icontains=word) | Q(email__icontains=word)
    users = get_user_model().objects.filter(condition)
    return list(users.order_by("pk").values_list("pk", flat=True)[: SEARCHED_USERS + 1])


class RemoteUserAdmin(ModelAdmin):
    """Lists, searches and edits rows that refer to a user in another database.

    Declare `user_field`, and show it by a column that calls `name_of`. `search_fields` name
    columns of the row's own database only.
    """

    user_field: ClassVar[str]
    # Not None or False: those let the admin add a JOIN for each foreign key of the list.
    list_select_related: ClassVar[tuple[str, ...]] = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """All rows; one query fetches the users of a page, from their own database."""
        return super().get_queryset(request).prefetch_related(self.user_field)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Rows whose local columns match, and rows of users that match."""
        found, may_repeat = super().get_search_results(request, queryset, search_term)
        if not search_term.strip():
            return found, may_repeat
        users = matching_users(search_term)
        if len(users) > SEARCHED_USERS:
            text = f"More than {SEARCHED_USERS} users match; rows of the others are left out."
            self.message_user(request, text, messages.WARNING)
        of_users = queryset.filter(**{f"{self.user_field}_id__in": users[:SEARCHED_USERS]})
        return found | of_users, may_repeat
