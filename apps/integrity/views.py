"""For machines: is it alive, and the figures. No keys, no names, no reasons in either.

Open to whoever reaches the address, as such pages are; `INTEGRITY["metrics_token"]` asks for a
token, and your proxy may keep the addresses to your own network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from . import conf, report
from .exceptions import DatabaseUnreachable

if TYPE_CHECKING:
    from django.http import HttpRequest

NEEDS = "Metrics need prometheus_client: pip install 'django-crossdb-integrity[metrics]'\n"


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' text. 401 without the token that the settings want, 501 without its library."""
    token = conf.current().metrics_token
    given = request.headers.get("Authorization", "")
    if token and not constant_time_compare(given, f"Bearer {token}"):
        headers = {"WWW-Authenticate": 'Bearer realm="metrics"'}
        return HttpResponse(status=401, headers=headers)
    try:
        from prometheus_client import CONTENT_TYPE_LATEST

        from .metrics import exposition
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "prometheus_client":
            raise
        return HttpResponse(NEEDS, status=501, content_type="text/plain")
    return HttpResponse(exposition(), content_type=CONTENT_TYPE_LATEST)


@never_cache
@require_safe
def healthz(_request: HttpRequest) -> JsonResponse:
    """200 while deletions are tended, else 503 with what is wrong.

    A child database that is down, paused or behind is told and is no failure: it delays itself
    alone, and a restart of the site would not help it.
    """
    try:
        overview = report.overview()
    except DatabaseUnreachable:
        return JsonResponse({"status": "failing", "failing": ["logs"]}, status=503)
    wrong = {
        "logs": bool(overview.unreachable_logs),
        "beat": overview.beat_is_silent,
        "workers": overview.workers_are_silent,
    }
    failing = [name for name, is_wrong in wrong.items() if is_wrong]
    return JsonResponse(
        {
            "status": "failing" if failing else "ok",
            "failing": failing,
            "databases": {card.database: card.state for card in overview.cards},
        },
        status=503 if failing else 200,
    )
