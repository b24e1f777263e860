from __future__ import annotations

from typing import Any

from .models import Page


def fill(user: Any) -> None:
    """A page with an older version."""
    page = Page.objects.create(author=user, title="first")
    page.title = "second"
    page.save()
