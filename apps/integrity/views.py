"""For machines: is all well, and the figures. `include("crossdb_integrity.urls")`.

Neither asks for a login, as probes and scrapers have none, and neither shows a key. Where aliases
and lags are nobody's business, let the proxy keep the addresses to your own network.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from django.http import HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from . import report
from .dashboard import words
from .exceptions import DatabaseUnreachable

if TYPE_CHECKING:
    from django.http import HttpRequest

#: The format of Prometheus's text, as its documentation names it.
TEXT = "text/plain; version=0.0.4; charset=utf-8"


@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 (a view's signature)
    """200 while deletions are carried out, 503 when something stands still; the reason in JSON.

    Work that goes on, however much, and what an operator paused, is well.
    """
    try:
        verdict = words.verdict(report.overview())
    except DatabaseUnreachable as error:
        verdict = words.Verdict(level="trouble", sentence=f"No deletion log answers: {error}")
    well = verdict.level != "trouble"
    return JsonResponse(
        {"ok": well, "level": verdict.level, "reason": verdict.sentence},
        status=200 if well else 503,
    )


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 (a view's signature)
    """Prometheus's text; 503 when no log answers, 501 without `prometheus_client`."""
    if importlib.util.find_spec("prometheus_client") is None:
        remedy = "pip install 'django-crossdb-integrity[metrics]'"
        return HttpResponse(f"prometheus_client is not installed: {remedy}\n", TEXT, status=501)
    from .metrics import exposition

    try:
        return HttpResponse(exposition(), TEXT)
    except DatabaseUnreachable as error:
        return HttpResponse(f"no deletion log answers: {error}\n", TEXT, status=503)
