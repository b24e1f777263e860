from __future__ import annotations

from typing import Any

from .models import Ticket


def fill(user: Any) -> None:
    """Two tickets."""
    for _ in range(2):
        Ticket.objects.create(author=user)
