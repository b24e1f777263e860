from __future__ import annotations

from typing import Any

from .models import Photo


def fill(user: Any) -> None:
    """A photo with two tags, one of which all share."""
    photo = Photo.objects.create(author=user)
    photo.tags.add("sea", f"of {user.pk}")
