"""Pages that show. Every figure comes from `report`."""

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
    from ..report.lists import Page, Suspect, Suspects

#: A preview looks at so many suspects of a relation; the others are of the same kind.
PREVIEW_SUSPECTS = 1_000
#: Processes that are listed; older signs of life are of processes that are long gone.
PROCESSES = 12
SCHEMA_VERSION = 1
#: While a page waits, one statement on a log may take so long.
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
    workers = sorted(seen.workers, key=lambda each: each["seconds_ago"])
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
    """The query of the next page, or ""."""
    if page is None or page.older is None:
        return ""
    query = request.GET.copy()
    query["before"] = str(page.older)
    return query.urlencode()


@contextmanager
def _log(using: str) -> Iterator[None]:
    """Read one log: one that is away, or takes too long, holds no page up."""
    connections.reach(using)
    with timed_read(using, STATEMENT_SECONDS):
        yield


def _deletion(using: str, pk: int) -> Deletion:
    if using not in relations.log_databases():
        raise Http404("no such log")
    with _log(using):
        found = receipts.deletion(pk, using=using)
    if found is None:
        raise Http404("no such deletion in the log")
    return found


@require_safe
def deletion(request: HttpRequest, using: str, pk: int, *, site: AdminSite) -> HttpResponse:
    """One deletion: when, where, how many rows, and what hinders it."""
    require(request, "view")
    found, name = _deletion(using, pk), Keys(request, site).name
    steps = receipts.receipt_lines(found)
    return _page(
        request,
        site,
        "deletion",
        f"Deletion of {name(found)}",
        using=using,
        deletion=found,
        steps=steps,
        blocked=any(each.state == each.State.BLOCKED for each in found.cascades.all()),
        kept=any(each.kept_at and not each.acknowledged_at for each in found.cascades.all()),
        left_alone=receipts.left_alone(receipts.receipt_of(found)),
        timeline=[
            ("recorded", found.recorded_at),
            ("dispatched", found.dispatched_at),
            ("cascaded", found.cascaded_at),
            ("verified", found.verified_at),
        ],
    )


@require_safe
def receipt(request: HttpRequest, using: str, pk: int, *, site: AdminSite) -> HttpResponse:
    """Proof for one deletion, to print."""
    require(request, "view")
    found, keys = _deletion(using, pk), Keys(request, site)
    return _page(
        request,
        site,
        "receipt",
        f"Receipt for {keys.name(found)}",
        using=using,
        deletion=found,
        keys=keys,
        receipt=(proof := keys.receipt(receipts.receipt_of(found))),
        left_alone=receipts.left_alone(proof),
        proven=found.state == found.State.VERIFIED,
    )


@require_safe
def receipt_json(request: HttpRequest, using: str, pk: int, *, site: AdminSite) -> HttpResponse:
    """The same as a file, with the words of `integrity receipt --json`."""
    require(request, "view")
    found = _deletion(using, pk)
    shown = Keys(request, site).receipt(receipts.receipt_of(found))
    document = {"schema_version": SCHEMA_VERSION, **shown}
    name = f"receipt-{using}-{pk}.json"
    return JsonResponse(
        document,
        json_dumps_params={"indent": 2},
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@require_safe
def catalogue(request: HttpRequest, *, site: AdminSite) -> HttpResponse:
    """Every foreign key between databases, and how well it is scanned."""
    require(request, "view")
    rows = report_catalogue.relation_rows()
    done = {(each["relation"], each["database"]): each for each in figures.scans()}
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
    """The logs of which no relation is among those that were scanned: they did not answer."""
    seen = {*scanned}
    logs = {
        each.parent_databases[0]: each.label in seen for each in relations.catalogue().relations
    }
    return sorted(using for using, answers in logs.items() if not answers)


@require_safe
def scans(request: HttpRequest, *, site: AdminSite) -> HttpResponse:
    """How far the scans are, what they found, and what holds its repair."""
    require(request, "view")
    rows = figures.scans()
    brakes = {row["relation"]: row["brake"] for row in rows if row["brake"]}
    return _page(
        request,
        site,
        "scans",
        "Scans and suspects",
        rows=rows,
        silent=_silent(row["relation"] for row in rows),
        found=[
            (each, brakes.get(each.relation, ""), _shown(each, Keys(request, site)))
            for each in figures.suspected()
        ],
        policy={
            each.label: conf.current().scan_policy_of(each.label)
            for each in relations.catalogue().relations
        },
    )


def _shown(found: Suspects, keys: Keys) -> list[tuple[Suspect, str]]:
    return [(each, keys.suspect(found.parent, each)) for each in found.first]


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
    known = {each.label: each for each in relations.catalogue().relations}
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
