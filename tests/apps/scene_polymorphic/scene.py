from __future__ import annotations

from typing import Any

from .models import Book, Item, Loan


def fill(user: Any) -> None:
    """A plain row, one of a subclass, and rows that refer to both."""
    plain, book = Item.objects.create(owner=user), Book.objects.create(owner=user, pages=user.pk)
    for item in (plain, book):
        Loan.objects.create(item=item, reader=user)
    first = Item.objects.order_by("pk").first()
    Loan.objects.create(item=first, reader=user)
