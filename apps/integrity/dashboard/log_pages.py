"""The pages that read logs: deletions, one of them, its receipt, the audit, and processes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.http import Http404, JsonResponse
from django.views.decorators.http import require_safe

from .. import conf, relations
from ..backends import clocks, connections
from ..backends.bounded import timed_read
from ..control import circuit_breaker
from ..exceptions import InvalidKey, UnknownName
from ..log import failures
from ..models import CascadeState
from ..report import audits, claimed_work, lists, receipt_text, receipts, unfollowed
from .answers import page as _page
from .answers import require
from .forms import AuditForm, SearchForm
from .keys import Keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.contrib.admin import AdminSite
    from django.http import HttpRequest, HttpResponse

    from ..models import Deletion
    from ..models.outcome import InDatabase
    from ..report.lists import Page

SCHEMA_VERSION = 1
#: The longest that one statement of a page on a log may take.
STATEMENT_SECONDS = 5.0
#: The most failed attempts that the page of a deletion has.
FAILURES = 50


@require_safe
def deletions(request: HttpRequest, *, site: AdminSite) -> HttpResponse:
    """The log, by parent, key, reference, state, child database and age."""
    require(request, "view")
    form, keys = SearchForm(request.GET), Keys(request, site)
    using, page, error, as_of = relations.log_databases()[0], None, "", None
    if form.is_valid():
        chosen = form.cleaned_data
        using = chosen["log"] or using
        wanted = lists.Wanted(
            using=using,
            model=chosen["model"],
            key=chosen["key"].strip(),
            reference=chosen["reference"].strip(),
            shown=chosen["state"],
            database=chosen["database"],
            age=chosen["age"],
            ids=chosen["ids"],
            place=form.place,
            searched=keys.may_search,
        )
        try:
            with _log(using):
                page, as_of = lists.deletions(wanted), clocks.now(using)
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
        as_of=as_of,
        keys=keys,
        several_logs=len(relations.log_databases()) > 1,
        back=request.GET.urlencode(),
        may_be_retried=any(_has(row, "is_blocked") for row in page.rows) if page else False,
        may_be_acknowledged=(
            any(_has(row, "is_unacknowledged") for row in page.rows) if page else False
        ),
        **_links(request, page),
    )


def _is_awaited(one: InDatabase) -> bool:
    """Return whether its next attempt is later: after a failure, or because it was planned so."""
    waits = one.state == CascadeState.WAITING
    planned = one.state == CascadeState.PENDING and bool(one.reason)
    return (waits or planned) and one.due_at is not None


def _has(row: Deletion, what: str) -> bool:
    return any(getattr(one, what) for one in row.databases)


def _links(request: HttpRequest, page: Page | None) -> dict[str, str]:
    """Return the queries of the older and the newer page, which keep the filter; or ""."""
    if page is None:
        return {"older": "", "newer": ""}
    places = {"older": ("before", page.older), "newer": ("after", page.newer)}
    return {
        link: "" if pk is None else _query(request, name, pk) for link, (name, pk) in places.items()
    }


def _query(request: HttpRequest, name: str, pk: int) -> str:
    query = request.GET.copy()
    for cursor in ("before", "after"):
        query.pop(cursor, None)
    query[name] = str(pk)
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
    with _log(using):
        steps, proof = receipts.lines_of(row), receipts.receipt_of(row)
        failed = failures.of_batch(row.batch, most=FAILURES, using=using)
        as_of = clocks.now(using)
    return _page(
        request,
        site,
        "deletion",
        f"Deletion of {name(row)}",
        using=using,
        deletion=row,
        steps=steps,
        blocked=any(one.is_blocked for one in row.databases),
        kept=any(one.is_unacknowledged for one in row.databases),
        failed=failed,
        failures_max=FAILURES,
        next_tries=[one for one in row.databases if one.is_blocked or _is_awaited(one)],
        as_of=as_of,
        left_alone=receipt_text.left_alone(proof),
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
        others=receipts.others_of(row),
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
    logs, form = relations.log_databases(), AuditForm(request.GET)
    using, page, as_of = logs[0], None, None
    if form.is_valid():
        chosen = form.cleaned_data
        using = chosen["log"] or using
        wanted = audits.Wanted(
            using=using,
            actor=chosen["actor"].strip(),
            verb=chosen["verb"].strip(),
            target=chosen["target"].strip(),
            place=form.place,
        )
        with _log(using):
            page, as_of = audits.audits(wanted), clocks.now(using)
    return _page(
        request, site, "audit", "Audit", form=form, using=using, logs=logs, page=page,
        as_of=as_of, searched=form.is_searched, **_links(request, page),
    )  # fmt: skip


@require_safe
def processes(request: HttpRequest, *, site: AdminSite) -> HttpResponse:
    """Beat and the workers, and what they have in hand."""
    require(request, "view")
    logs, answering = [], circuit_breaker.answering_logs()
    for using in answering:
        with _log(using):
            logs.append((claimed_work.processes(using), clocks.now(using)))
    silent = [using for using in relations.log_databases() if using not in answering]
    return _page(
        request, site, "processes", "Processes", logs=logs, silent_logs=silent,
        flower_url=conf.current().flower_url,
    )  # fmt: skip
