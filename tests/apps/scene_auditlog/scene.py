from __future__ import annotations

from typing import Any

from .models import Note


def fill(user: Any) -> None:
    """Two notes."""
    for _ in range(2):
        Note.objects.create(author=user)
