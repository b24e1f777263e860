from __future__ import annotations

from typing import Any

from .models import Letter, Stamp


def fill(user: Any) -> None:
    """A letter, and one that was deleted softly with its stamp."""
    for _ in range(2):
        letter = Letter.objects.create(author=user)
        Stamp.objects.create(letter=letter)
    letter.delete()
