"""The pages that only show. Every figure comes from `report`."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.http import Http404, JsonResponse
from django.views.decorators.http import require_safe

from .. import conf, relations
from ..backends import connections
from ..backends.bounded import timed_read
from ..exceptions import DatabaseUnreachable, FiguresUnavailable, InvalidKey, UnknownName
from ..report import catalogue as report_catalogue
from ..report import limits as report_limits
from ..report import lists, receipts
from ..report.preview import Limits, repairs
from ..scan import repair
from . import figures, svg, text
from .answers import page as _page
from .answers import require
from .forms import PageForm, RepairForm, SearchForm
from .keys import Keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from django.contrib.admin import AdminSite
    from django.http import HttpRequest, HttpResponse

    from ..models import Deletion
    from ..relations import Relation
    from ..report.lists import Missing, Page, Suspects

#: The most suspects of a relation that a preview examines.
PREVIEW_SUSPECTS = 1_000
#: The most processes listed. Older heartbeats are of processes that have ended.
PROCESSES = 12
SCHEMA_VERSION = 1
#: The longest that one statement of a page on a log may take.
STATEMENT_SECONDS = 5.0


@require_safe
def overview(request: HttpRequest, *, site: AdminSite) -> HttpResponse:
    """Whether deletions are behind, why, since when, and when they will be done."""
    require(request, "view")
    try:
        seen = figures.overview()
    except (DatabaseUnreachable, FiguresUnavailable) as error:
        verdict = text.Verdict(level="trouble", sentence=f"No deletion log can be reached: {error}")
        return _page(request, site, "overview", "Integrity", verdict=verdict)
    workers = sorted(seen.workers, key=lambda worker: worker["seconds_ago"])
    return _page(
        request,
        site,
        "overview",
        "Integrity",
        seen=seen,
        verdict=text.verdict(seen),
        workers=workers[:PROCESSES],
        flower_url=conf.current().flower_url,
        count_max=report_limits.COUNT_MAX,
    )


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
        steps=receipts.receipt_lines(row),
        blocked=any(one.is_blocked for one in row.databases),
        kept=any(one.is_unacknowledged for one in row.databases),
        left_alone=receipts.left_alone(receipts.receipt_of(row)),
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
        receipt=(proof := keys.receipt(receipts.receipt_of(row))),
        left_alone=receipts.left_alone(proof),
        proven=row.state == row.State.VERIFIED,
    )


@require_safe
def receipt_json(request: HttpRequest, using: str, pk: int, *, site: AdminSite) -> HttpResponse:
    """The same as a file, in the format of `integrity receipt --json`."""
    require(request, "view")
    proof = Keys(request, site).receipt(receipts.receipt_of(_deletion(using, pk)))
    name = f"receipt-{using}-{pk}.json"
    return JsonResponse(
        {"schema_version": SCHEMA_VERSION, **proof},
        json_dumps_params={"indent": 2},
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@require_safe
def catalogue(request: HttpRequest, *, site: AdminSite) -> HttpResponse:
    """Every foreign key between databases, and how well it is scanned."""
    require(request, "view")
    rows = report_catalogue.relation_rows()
    done = {(scan["relation"], scan["database"]): scan for scan in figures.scans()}
    return _page(
        request,
        site,
        "relations",
        "Relations",
        rows=[(row, done.get((row["relation"], row["child_database"]))) for row in rows],
        picture=svg.relation_map(rows),
        silent=_silent(relation for relation, _ in done),
    )


def _silent(scanned: Iterable[str]) -> list[str]:
    """Return the logs that did not answer: none of their relations is among those scanned."""
    seen = {*scanned}
    logs = {
        relation.parent_databases[0]: relation.label in seen
        for relation in relations.catalogue().relations
    }
    return sorted(using for using, answers in logs.items() if not answers)


@require_safe
def scans(request: HttpRequest, *, site: AdminSite) -> HttpResponse:
    """How far the scans are, what they found, and what holds its repair."""
    require(request, "view")
    rows, keys = figures.scans(), Keys(request, site)
    brakes = {row["relation"]: row["brake"] for row in rows if row["brake"]}
    return _page(
        request,
        site,
        "scans",
        "Scans and suspects",
        rows=rows,
        silent=_silent(row["relation"] for row in rows),
        suspected=[
            (group, brakes.get(group.relation, ""), _shown(group, keys))
            for group in figures.suspected()
        ],
        policy={
            relation.label: conf.current().scan_policy_of(relation.label)
            for relation in relations.catalogue().relations
        },
    )


def _shown(group: Suspects, keys: Keys) -> list[tuple[Missing, str]]:
    return [(suspect, keys.suspect(group.parent, suspect)) for suspect in group.first]


@require_safe
def preview(request: HttpRequest, *, site: AdminSite) -> HttpResponse:
    """What a repair of one relation would do. It changes nothing."""
    require(request, "view")
    label = request.GET.get("relation", "")
    relation = _relation(label)
    form = RepairForm(initial={"relation": label})
    return repair_page(request, site=site, relation=relation, form=form)


def repair_page(
    request: HttpRequest,
    *,
    site: AdminSite,
    relation: Relation,
    form: RepairForm,
    done: repair.Repaired | None = None,
) -> HttpResponse:
    """The preview, and the form that applies it or says why it was not."""
    limits = Limits(suspects=PREVIEW_SUSPECTS, rows=report_limits.COUNT_MAX + 1)
    effects, uncounted = repairs([relation], limits)
    outlook = repair.outlook(relation)
    return _page(
        request,
        site,
        "repair",
        f"Repair {relation.label}",
        relation=relation,
        form=form,
        effects=effects,
        uncounted=uncounted,
        outlook=outlook,
        done=done,
        part=PREVIEW_SUSPECTS if outlook.waiting > PREVIEW_SUSPECTS else 0,
    )


def _relation(label: str) -> Relation:
    known = {relation.label: relation for relation in relations.catalogue().relations}
    if label not in known or not known[label].policy.cascades:
        raise Http404("no such relation, or none that is repaired")
    return known[label]


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
