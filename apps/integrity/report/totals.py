"""Sums in the ORM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import Sum
from django.db.models.functions import Coalesce

if TYPE_CHECKING:
    from django.db.models import QuerySet


def total(column: str, **options: Any) -> Coalesce:
    """Return the sum of a column of numbers, 0 where there is none."""
    return Coalesce(Sum(column, **options), 0)


def sum_of(column: str, rows: QuerySet[Any]) -> int:
    """Return the sum of a column of those rows."""
    return int(rows.aggregate(sum=total(column))["sum"])
