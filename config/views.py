"""The project's own pages: the landing page, and the page to delete an account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.db.models import ProtectedError, RestrictedError
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Return the landing page."""
    return render(request, "home.html", {"flower_url": settings.FLOWER_URL})


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def delete_account(request: HttpRequest) -> HttpResponse:
    """Ask for confirmation on GET; delete the user on POST. Workers delete the content."""
    if request.method != "POST":
        return render(request, "account/delete.html")
    try:
        request.user.delete()
    except (ProtectedError, RestrictedError):
        return render(request, "account/delete.html", {"refused": True}, status=409)
    logout(request)
    messages.success(
        request, "Your account is deleted. Your posts, comments and orders are being removed."
    )
    return redirect("home")
