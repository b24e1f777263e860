from __future__ import annotations

from typing import Any

from .models import Folder


def fill(user: Any) -> None:
    """A tree of one's own, and a folder below somebody else's."""
    top = Folder.objects.create(owner=user)
    Folder.objects.create(owner=user, parent=Folder.objects.create(owner=user, parent=top))
    Folder.objects.create(owner=user, parent=Folder.objects.order_by("-pk").first())
