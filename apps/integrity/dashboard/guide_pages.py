"""The guides for the person on call: what each kind of fault means, and what to do.

They hold no figures and read no database, so they are there when a log is not.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from django.views.decorators.http import require_safe

from ..report.guides import GUIDES
from .answers import page, require

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite
    from django.http import HttpRequest, HttpResponse


@require_safe
def guides(request: HttpRequest, *, site: AdminSite) -> HttpResponse:
    """All guides, one for each kind of fault."""
    require(request, "view")
    return page(request, site, "guides", "What to do", guides=GUIDES.values())


@require_safe
def guide(request: HttpRequest, kind: str, *, site: AdminSite) -> HttpResponse:
    """One guide, with the subject of the fault in its commands; or the list of all, as a 404."""
    require(request, "view")
    if (found := GUIDES.get(kind)) is None:
        response = page(request, site, "guides", "No such guide", guides=GUIDES.values())
        response.status_code = HTTPStatus.NOT_FOUND
        return response
    subject = request.GET.get("subject", "")
    return page(request, site, "guide", found.title, guide=found.addressed(subject))
