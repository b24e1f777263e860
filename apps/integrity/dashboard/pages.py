"""Pages that show. Every figure comes from `report`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, JsonResponse
from django.template.response import TemplateResponse
from django.views.decorators.http import require_safe

from .. import conf, relations, repair, report
from ..exceptions import CrossDatabaseError, DatabaseUnreachable, FiguresUnavailable
from ..models import Dashboard
from ..report import bounds
from . import figures, pictures, words
from .forms import PageForm, RepairForm, SearchForm
from .keys import Keys

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite
    from django.http import HttpRequest, HttpResponse

    from ..models import Deletion
    from ..relations import Relation
    from ..report import Page, Suspect, Suspects

#: A preview looks at so many suspects of a relation; the others are of the same kind.
PREVIEW_SUSPECTS = 1_000
#: Processes that are listed; older signs of life are of processes that are long gone.
PROCESSES = 12
SCHEMA_VERSION = 1


def allowed(request: HttpRequest, act: str) -> bool:
    """Whether the user may `view`, `operate` or `repair`."""
    return bool(request.user.has_perm(f"integrity.{act}_dashboard"))


def require(request: HttpRequest, act: str) -> None:
    """Raise `PermissionDenied` unless the user may."""
    if not allowed(request, act):
        raise PermissionDenied


@require_safe
def overview(request: HttpRequest, *, site: AdminSite) -> HttpResponse:
    """Whether deletions are behind, why, since when, and when they will be done."""
    require(request, "view")
    try:
        seen = figures.overview()
    except (DatabaseUnreachable, FiguresUnavailable) as error:
        verdict = words.Verdict(
            level="trouble", sentence=f"No deletion log can be reached: {error}"
        )
        return _page(request, site, "overview", "Integrity", verdict=verdict)
    workers = sorted(seen.workers, key=lambda each: each["seconds_ago"])
    return _page(
        request,
        site,
        "overview",
        "Integrity",
        seen=seen,
        verdict=words.verdict(seen),
        workers=workers[:PROCESSES],
        flower_url=conf.current().flower_url,
        count_max=bounds.COUNT_MAX,
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
            page = report.deletions(
                using=using,
                model=chosen["model"],
                key=chosen["key"].strip(),
                state=chosen["state"],
                before=chosen["before"],
                searched=keys.may_search,
            )
        except CrossDatabaseError as raised:
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


def _deletion(using: str, pk: int) -> Deletion:
    found = report.deletion(pk, using=using) if using in relations.log_databases() else None
    if found is None:
        raise Http404("no such deletion in the log")
    return found


@require_safe
def deletion(request: HttpRequest, using: str, pk: int, *, site: AdminSite) -> HttpResponse:
    """One deletion: when, where, how many rows, and what hinders it."""
    require(request, "view")
    found, name = _deletion(using, pk), Keys(request, site).name
    steps = report.steps(found)
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
        left_alone=report.left_alone(report.receipt(found)),
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
        receipt=(proof := keys.receipt(report.receipt(found))),
        left_alone=report.left_alone(proof),
        proven=found.state == found.State.VERIFIED,
    )


@require_safe
def receipt_json(request: HttpRequest, using: str, pk: int, *, site: AdminSite) -> HttpResponse:
    """The same as a file, with the words of `integrity receipt --json`."""
    require(request, "view")
    found = _deletion(using, pk)
    shown = Keys(request, site).receipt(report.receipt(found))
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
    rows = report.catalogue()
    done = {(each["relation"], each["database"]): each for each in figures.scans()}
    return _page(
        request,
        site,
        "relations",
        "Relations",
        rows=[(row, done.get((row["relation"], row["child_database"]))) for row in rows],
        picture=pictures.relation_map(rows),
    )


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
    limits = report.Limits(suspects=PREVIEW_SUSPECTS, rows=bounds.COUNT_MAX + 1)
    effects, uncounted = report.repairs([relation], limits)
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
        page = report.audits(using=using, before=form.cleaned_data["before"])
    return _page(
        request, site, "audit", "Audit", form=form, using=using, logs=logs, page=page,
        older=_older(request, page),
    )  # fmt: skip


def _page(
    request: HttpRequest, site: AdminSite, name: str, title: str, **context: Any
) -> HttpResponse:
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
