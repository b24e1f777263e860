from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from guardian.models import UserObjectPermission

from .models import Report


def fill(user: Any) -> None:
    """A report that its author and the first user may change."""
    kind = ContentType.objects.get_for_model(Report)
    change = Permission.objects.get(content_type=kind, codename="change_report")
    report = Report.objects.create(author=user)
    # Not save(): guardian looks for the report beside its permission.
    UserObjectPermission.objects.bulk_create(
        UserObjectPermission(
            user_id=pk, permission=change, content_type=kind, object_pk=str(report.pk)
        )
        for pk in sorted({user.pk, 103})
    )
