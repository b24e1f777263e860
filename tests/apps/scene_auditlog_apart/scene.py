from __future__ import annotations

from typing import Any

from auditlog.models import LogEntry
from django.contrib.contenttypes.models import ContentType

from .models import Memo


def fill(user: Any) -> None:
    """A memo, and an entry by its author on it."""
    memo = Memo.objects.create(author=user)
    kind = ContentType.objects.get_for_model(Memo)
    LogEntry.objects.create(actor=user, content_type=kind, object_pk=str(memo.pk), action=1)
