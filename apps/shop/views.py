"""Pages of the shop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.auth.decorators import login_required
from django.shortcuts import render
from django.views.decorators.http import require_safe

from .models import Order

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

PAGE_ROWS = 50


@login_required
@require_safe
def orders(request: HttpRequest) -> HttpResponse:
    """The newest orders of the logged-in user."""
    own = Order.objects.filter(customer_id=request.user.pk).order_by("-created_at", "-pk")
    return render(request, "shop/orders.html", {"orders": own[:PAGE_ROWS]})
