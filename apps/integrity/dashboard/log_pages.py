"""The pages that read one log: deletions, one of them, its receipt, and the audit."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.http import Http404, JsonResponse
from django.views.decorators.http import require_safe

from .. import relations
from ..backends import connections
from ..backends.bounded import timed_read
from ..exceptions import InvalidKey, UnknownName
from ..report import lists, receipt_text, receipts, unfollowed
from .answers import page as _page
from .answers import require
from .forms import PageForm, SearchForm
from .keys import Keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.contrib.admin import AdminSite
    from django.http import HttpRequest, HttpResponse

    from ..models import Deletion
    from ..report.lists import Page

SCHEMA_VERSION = 1
#: The longest that one statement of a page on a log may take.
STATEMENT_SECONDS = 5.0


@require_safe
def deletions(request: HttpRequest, *, site: AdminSite) -> HttpResponse:
    """The log, by parent, key and state."""
    require(request, "view")
    form, keys = SearchForm(request.GET), Keys(request, site)
    using, page, error = relations.log_databases()[0], None, ""
    if form.is_valid():
        chosen = form.cleaned_data
        using = chosen["log"] or using
        try:
            with _log(using):
                page = lists.deletions(
                    using=using,
                    model=chosen["model"],
                    key=chosen["key"].strip(),
                    state=chosen["state"],
                    ids=chosen["ids"],
                    before=chosen["before"],
                    searched=keys.may_search,
                )
        except (InvalidKey, UnknownName) as raised:
            error = str(raised)
    return _page(
        request,
        site,
        "deletions",
        "Deletions",
        form=form,
        using=using,
        page=page,
        error=error,
        older=_older(request, page),
        keys=keys,
        several_logs=len(relations.log_databases()) > 1,
    )


def _older(request: HttpRequest, page: Page | None) -> str:
    """Return the query of the next page, or ""."""
    if page is None or page.older is None:
        return ""
    query = request.GET.copy()
    query["before"] = str(page.older)
    return query.urlencode()


@contextmanager
def _log(using: str) -> Iterator[None]:
    """Read one log. An unreachable or slow log raises soon, so that no page waits for it."""
    connections.reach(using)
    with timed_read(using, STATEMENT_SECONDS):
        yield


def _deletion(using: str, pk: int) -> Deletion:
    if using not in relations.log_databases():
        raise Http404("no such log")
    with _log(using):
        row = receipts.deletion(pk, using=using)
    if row is None:
        raise Http404("no such deletion in the log")
    return row


@require_safe
def deletion(request: HttpRequest, using: str, pk: int, *, site: AdminSite) -> HttpResponse:
    """One deletion: when, where, how many rows, and what blocks it."""
    require(request, "view")
    row, name = _deletion(using, pk), Keys(request, site).name
    return _page(
        request,
        site,
        "deletion",
        f"Deletion of {name(row)}",
        using=using,
        deletion=row,
        steps=receipts.lines_of(row),
        blocked=any(one.is_blocked for one in row.databases),
        kept=any(one.is_unacknowledged for one in row.databases),
        left_alone=receipt_text.left_alone(receipts.receipt_of(row)),
        timeline=[
            ("recorded", row.recorded_at),
            ("dispatched", row.dispatched_at),
            ("cascaded", row.cascaded_at),
            ("verified", row.verified_at),
        ],
    )


@require_safe
def receipt(request: HttpRequest, using: str, pk: int, *, site: AdminSite) -> HttpResponse:
    """Proof for one deletion, to print."""
    require(request, "view")
    row, keys = _deletion(using, pk), Keys(request, site)
    return _page(
        request,
        site,
        "receipt",
        f"Receipt for {keys.name(row)}",
        using=using,
        deletion=row,
        keys=keys,
        receipt=(proof := keys.receipt(unfollowed.count(receipts.receipt_of(row)))),
        statement=receipt_text.statement(proof),
        outside=receipt_text.OUTSIDE,
        issuer=receipt_text.issuer(proof),
    )


@require_safe
def receipt_json(request: HttpRequest, using: str, pk: int, *, site: AdminSite) -> HttpResponse:
    """The same as a file, in the format of `integrity receipt --json`."""
    require(request, "view")
    proof = unfollowed.count(receipts.receipt_of(_deletion(using, pk)))
    shown = receipt_text.document(Keys(request, site).receipt(proof))
    name = f"receipt-{using}-{pk}.json"
    return JsonResponse(
        {"schema_version": SCHEMA_VERSION, **shown},
        json_dumps_params={"indent": 2},
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@require_safe
def audit(request: HttpRequest, *, site: AdminSite) -> HttpResponse:
    """Who did what, when and why."""
    require(request, "view")
    logs, form = relations.log_databases(), PageForm(request.GET)
    using, page = logs[0], None
    if form.is_valid():
        using = form.cleaned_data["log"] or using
        with _log(using):
            page = lists.audits(using=using, before=form.cleaned_data["before"])
    return _page(
        request, site, "audit", "Audit", form=form, using=using, logs=logs, page=page,
        older=_older(request, page),
    )  # fmt: skip
