"""What all pages share: permissions, the frame, and the response when a log does not answer.

Note [No answer]: one of several logs may be unreachable or slow while the admin itself works. A
page without anything to show then displays the reason, and an action shows it as a message. Pages
of figures show those of the logs that answer, and name the others. Their status is not that of a
server error: open tabs reload every few seconds, and Django would mail each error. Only documents
(JSON) have an error status.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import Error
from django.http import HttpResponseRedirect, JsonResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from .. import relations
from ..exceptions import CrossDatabaseError, DatabaseHindered, FiguresUnavailable
from ..exceptions.loggers import logger_of
from ..exceptions.redaction import plain, reason_of_error
from ..models import Dashboard
from . import figures, text

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.contrib.admin import AdminSite
    from django.http import HttpRequest, HttpResponse

logger = logger_of("integrity.dashboard")

UNAVAILABLE = 503


def allowed(request: HttpRequest, act: str) -> bool:
    """Return whether the user may `view`, `operate` or `repair`."""
    return bool(request.user.has_perm(f"integrity.{act}_dashboard"))


def require(request: HttpRequest, act: str) -> None:
    """Raise `PermissionDenied` unless the user may."""
    if not allowed(request, act):
        raise PermissionDenied


def page(
    request: HttpRequest, site: AdminSite, name: str, title: str, **context: Any
) -> HttpResponse:
    """Return a page in the frame of the admin."""
    request.current_app = site.name  # as Django's own admin pages do
    return TemplateResponse(
        request,
        f"integrity/{name}.html",
        {
            **site.each_context(request),
            "title": title,
            "opts": Dashboard._meta,
            "page_name": name,
            "may_operate": allowed(request, "operate"),
            "may_repair": allowed(request, "repair"),
            **context,
        },
    )


def answered(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Return the view, wrapped so that it responds when a log does not. See Note [No answer]."""

    @functools.wraps(view)
    def answering(request: HttpRequest, *args: Any, site: AdminSite, **named: Any) -> HttpResponse:
        try:
            return view(request, *args, site=site, **named)
        except (DatabaseHindered, FiguresUnavailable, Error) as error:
            sentence = _sentence(error)
        logger.warning("the dashboard cannot answer %s: %s", request.path, sentence)
        if request.method == "POST":
            return _redirect_with_error(request, site, text.public(sentence))
        return _unanswered(request, site, text.public(sentence))

    return answering


def _sentence(error: Exception) -> str:
    if isinstance(error, DatabaseHindered):
        return plain(f"Database {error.database} {error.sentence}")
    if isinstance(error, FiguresUnavailable):
        return f"No figures: {error}"
    return f"A database refuses what was asked: {reason_of_error(error)}"


def why(error: Exception) -> str:
    """Return what a page may say about an error."""
    return plain(error) if isinstance(error, CrossDatabaseError) else reason_of_error(error)


def _redirect_with_error(request: HttpRequest, site: AdminSite, sentence: str) -> HttpResponse:
    """Redirect with the error: an action was not carried out, or not in all logs."""
    figures.forget()
    messages.error(request, sentence)
    address = reverse("admin:integrity_dashboard_changelist", current_app=site.name)
    return HttpResponseRedirect(address)


def _unanswered(request: HttpRequest, site: AdminSite, sentence: str) -> HttpResponse:
    if request.path.endswith(".json"):
        return JsonResponse({"error": sentence}, status=UNAVAILABLE)
    verdict = text.Verdict(level="trouble", sentence=sentence)
    logs = relations.log_databases()
    return page(request, site, "unanswered", "Integrity", verdict=verdict, logs=logs)
