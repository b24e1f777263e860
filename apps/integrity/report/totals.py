"""Sums in the ORM."""

from __future__ import annotations

from typing import Any

from django.db.models import Sum
from django.db.models.functions import Coalesce


def total(column: str, **options: Any) -> Coalesce:
    """Return the sum of a column of numbers, 0 where there is none."""
    return Coalesce(Sum(column, **options), 0)
