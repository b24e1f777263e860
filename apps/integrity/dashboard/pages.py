"""The pages that only show. Every figure comes from `report`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import Http404
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from .. import conf, relations
from ..control.heartbeats import BEAT
from ..exceptions import DatabaseUnreachable, FiguresUnavailable
from ..report import catalogue as report_catalogue
from ..report import claimed_work, remedies
from ..report import limits as report_limits
from ..report.fault import Fault
from ..report.preview import Limits, repairs
from ..scan import repair
from . import figures, svg, text
from .answers import page as _page
from .answers import require
from .forms import RepairForm
from .keys import Keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.contrib.admin import AdminSite
    from django.http import HttpRequest, HttpResponse

    from ..relations import Relation
    from ..report.heartbeats import HeartbeatRow
    from ..report.suspected import Missing, Suspects

#: The most suspects of a relation that a preview examines.
PREVIEW_SUSPECTS = 1_000
#: The most processes listed. Older heartbeats are of processes that have ended.
PROCESSES = 12


@require_safe
def overview(request: HttpRequest, *, site: AdminSite) -> HttpResponse:
    """Whether deletions are behind, why, since when, and when they will be done."""
    require(request, "view")
    try:
        seen = figures.overview()
    except (DatabaseUnreachable, FiguresUnavailable) as error:
        verdict = text.Verdict(level="trouble", sentence=f"No deletion log can be reached: {error}")
        silent = [Fault(kind="log_unreachable", cause=str(error), remedy=remedies.NO_LOG)]
        rows = _faults(silent, site)
        return _page(request, site, "overview", "Integrity", verdict=verdict, faults=rows)
    workers = sorted(seen.workers, key=lambda worker: worker["seconds_ago"])
    return _page(
        request,
        site,
        "overview",
        "Integrity",
        seen=seen,
        verdict=text.verdict(seen),
        faults=_faults(seen.faults, site),
        silent={fault.kind: True for fault in seen.faults},
        beat_word=_word(seen.beat) if seen.beat else "",
        workers=[(row, _word(row)) for row in workers[:PROCESSES]],
        flower_url=conf.current().flower_url,
        count_max=report_limits.COUNT_MAX,
    )


def _word(row: HeartbeatRow) -> str:
    """Return the state of a process, or "" for a worker whose silence would say nothing."""
    if claimed_work.is_silent(row):
        return "silent"
    return "ok" if row["queues"] is not None or row["name"] == BEAT else ""


def _faults(faults: Iterable[Fault], site: AdminSite) -> list[tuple[Fault, str, str]]:
    """Return each fault, its sentence, and the address of its guide."""
    return [(fault, text.sentence(fault), _guide(fault, site)) for fault in faults]


def _guide(fault: Fault, site: AdminSite) -> str:
    path = reverse("admin:integrity_dashboard_guide", args=[fault.kind], current_app=site.name)
    return f"{path}?{urlencode({'subject': fault.subject})}" if fault.subject else path


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
    brakes = {row["relation"]: row["brake"] for row in rows if row["waiting"]}
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
        # The brake is asked about relations with suspects: a group may be newer than the answer.
        unbraked=[relation for relation, reason in brakes.items() if not reason],
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
        outcome=_outcome(done) if done else "",
        part=PREVIEW_SUSPECTS if outlook.waiting > PREVIEW_SUSPECTS else 0,
    )


def _outcome(done: repair.Repaired) -> str:
    """Return what a repair had changed when it was refused, or failed."""
    if not (done.confirmed or done.cancelled):
        return "Nothing was changed."
    confirmed, alive = f"{len(done.confirmed):,} confirmed", f"{done.cancelled:,} found alive"
    return f"Until then, {confirmed} and {alive}."


def _relation(label: str) -> Relation:
    known = {relation.label: relation for relation in relations.catalogue().relations}
    if label not in known or not known[label].policy.cascades:
        raise Http404("no such relation, or none that is repaired")
    return known[label]
