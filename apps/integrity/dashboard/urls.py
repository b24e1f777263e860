"""The addresses of the dashboard, below the admin."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from django.urls import path

from . import actions, guide_pages, log_pages, pages
from .answers import answered

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.contrib.admin import AdminSite
    from django.urls import URLPattern

#: Route → view, name.
_ROUTES: dict[str, tuple[Callable[..., Any], str]] = {
    "": (pages.overview, "changelist"),
    "deletions/": (log_pages.deletions, "deletions"),
    "deletions/retry/": (actions.retry_chosen, "retry_chosen"),
    "deletions/acknowledge/": (actions.acknowledge_chosen, "acknowledge_chosen"),
    "deletions/<str:using>/<int:pk>/": (log_pages.deletion, "deletion"),
    "deletions/<str:using>/<int:pk>/retry/": (actions.retry_deletion, "retry_deletion"),
    "deletions/<str:using>/<int:pk>/acknowledge/": (actions.acknowledge, "acknowledge"),
    "deletions/<str:using>/<int:pk>/receipt/": (log_pages.receipt, "receipt"),
    "deletions/<str:using>/<int:pk>/receipt.json": (log_pages.receipt_json, "receipt_json"),
    "relations/": (pages.catalogue, "relations"),
    "scans/": (pages.scans, "scans"),
    "repair/": (pages.preview, "preview"),
    "processes/": (log_pages.processes, "processes"),
    "audit/": (log_pages.audit, "audit"),
    "guide/": (guide_pages.guides, "guides"),
    "guide/<str:kind>/": (guide_pages.guide, "guide"),
    "pause/": (actions.pause, "pause"),
    "resume/": (actions.resume, "resume"),
    "retry/": (actions.retry, "retry"),
    "scan/": (actions.scan_now, "scan"),
    "repair/apply/": (actions.repair, "repair"),
}


def urls(site: AdminSite) -> list[URLPattern]:
    """Every page behind the login of `site`; each checks its own permission."""
    return [
        path(
            route,
            site.admin_view(partial(answered(view), site=site)),
            name=f"integrity_dashboard_{name}",
        )
        for route, (view, name) in _ROUTES.items()
    ]
