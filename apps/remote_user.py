"""The name of a user who lives in another database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import ObjectDoesNotExist

if TYPE_CHECKING:
    from django.db.models import Model


def name_of(row: Model, field: str) -> str:
    """The user's name, or "42 (missing)" where no such user exists."""
    try:
        return str(getattr(row, field))
    except ObjectDoesNotExist:
        return f"{getattr(row, f'{field}_id')} (missing)"
