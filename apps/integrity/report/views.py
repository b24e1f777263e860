"""Views for machines: the health probe and the metrics. They show no keys, names or reasons.

They are open to everyone who can reach their URLs, unless `INTEGRITY["metrics_token"]` or
`INTEGRITY["healthz_token"]` requires a token. They are cheap: the requests of one process share
their figures.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import TYPE_CHECKING, Any

from django.http import HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from .. import conf
from ..exceptions import FiguresUnavailable
from . import health

if TYPE_CHECKING:
    from django.http import HttpRequest

NEEDS = "Metrics need prometheus_client: pip install 'django-crossdb-integrity[metrics]'\n"


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Return the metrics in Prometheus' text format.

    The status is 401 without the token that the settings require, and 501 if `prometheus_client`
    is not installed.
    """
    token = conf.current().metrics_token
    if token and not _has_token(request, token):
        return _unauthorized("metrics")
    try:
        from prometheus_client import CONTENT_TYPE_LATEST

        from .metrics import shared_exposition
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "prometheus_client":
            raise
        return HttpResponse(NEEDS, status=501, content_type="text/plain")
    try:
        text = shared_exposition()
    except FiguresUnavailable as error:
        return HttpResponse(f"{error}\n", status=503, content_type="text/plain")
    return HttpResponse(text, content_type=CONTENT_TYPE_LATEST)


@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Return 200 while deletions are processed, else 503 with what fails: logs, beat or workers.

    A child database that is down, paused or behind is no failure: it delays no other, and a restart
    of the site would not help. Only a request with a valid token gets the state of each
    of them, and all faults.
    """
    settings = conf.current()
    tokens = [token for token in (settings.healthz_token, settings.metrics_token) if token]
    right = [_has_token(request, token) for token in tokens]
    known = any(right)
    if settings.healthz_token and not known:
        return _unauthorized("healthz")
    try:
        current = health.current_health()
    except FiguresUnavailable:  # the log does not answer
        current = health.Health(failing=("logs",), databases={})
    failing = list(current.failing)
    document: dict[str, Any] = {"status": "failing" if failing else "ok", "failing": failing}
    if known:
        document["databases"] = dict(current.databases)
        document["faults"] = [
            {"kind": fault.kind, "subject": fault.subject, "level": fault.level}
            for fault in current.faults
        ]
    return JsonResponse(document, status=503 if failing else 200)


def _has_token(request: HttpRequest, token: str) -> bool:
    """Return whether the header has that token.

    The time does not depend on how much of it is right. It compares bytes, because servers decode
    every header as Latin-1.
    """
    header = request.headers.get("Authorization", "").encode("latin-1", "backslashreplace")
    scheme, _, given = header.partition(b" ")
    return compare_digest(given.strip(), token.encode()) and scheme.lower() == b"bearer"


def _unauthorized(realm: str) -> HttpResponse:
    return HttpResponse(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}"'})
