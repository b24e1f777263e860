"""The operators' actions. Each is a POST that checks a permission, writes the audit and redirects.

The engine does the work, the way the command `integrity` calls it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from django.contrib import messages
from django.db import Error
from django.http import Http404, HttpResponseRedirect, QueryDict
from django.urls import reverse
from django.views.decorators.http import require_POST

from .. import conf, relations, scan
from ..backends import connections
from ..control import actions
from ..exceptions import CrossDatabaseError
from ..scan import repair as scan_repair
from . import figures, pages
from .answers import require, why
from .forms import ChosenForm, DatabaseForm, PauseForm, RepairForm, ResumeForm, ScanForm
from .text import number_of, public

if TYPE_CHECKING:
    from collections.abc import Callable

    from django import forms
    from django.contrib.admin import AdminSite
    from django.http import HttpRequest, HttpResponse

#: The time limit of a repair within a request. The rest is left to the next request, or to beat.
REPAIR_SECONDS = 10.0
#: The longest query to which an action returns, in characters.
BACK = 4_000


@require_POST
def pause(request: HttpRequest, *, site: AdminSite) -> HttpResponse:
    """Stop work on a child database, with a reason."""
    return _steer(request, site, PauseForm(request.POST), actions.pause, "is paused")


@require_POST
def resume(request: HttpRequest, *, site: AdminSite) -> HttpResponse:
    """Let work on a child database go on: for other parents, or after a restore, if accepted."""
    form = ResumeForm(request.POST)
    given = form.cleaned_data if form.is_valid() else {}
    act = partial(
        actions.resume,
        accept_identity=given.get("accept_identity", False),
        accept_restore=given.get("accept_restore", False),
    )
    return _steer(request, site, form, act, "goes on")


def _steer(
    request: HttpRequest,
    site: AdminSite,
    form: forms.Form,
    act: Callable[..., bool],
    word: str,
) -> HttpResponse:
    require(request, "operate")
    if not form.is_valid():
        return _refused(request, site, form, "changelist")
    database, reason = form.cleaned_data["database"], form.cleaned_data["reason"]

    def steered(using: str) -> bool:
        return act(database, actor=_actor(request), reason=reason, using=using)

    changed, complete = _in_each_log(request, database, steered)
    if any(changed) or complete:
        text = f"Database {database} {word}." if any(changed) else "Nothing had to change."
        messages.success(request, text)
    return _to(site, "changelist")


def _in_each_log(
    request: HttpRequest, database: str, act: Callable[[str], int]
) -> tuple[list[int], bool]:
    """Return the changes in each log that answers, and whether all logs did. Show the others."""
    changed, logs = [], relations.catalogue().log_databases
    for using in logs:
        try:
            connections.reach(using)
            changed.append(act(using))
        except (CrossDatabaseError, Error) as error:
            text = f"Database {database}, log {using}: {public(why(error))}"
            messages.error(request, text)
    return changed, len(changed) == len(logs)


@require_POST
def retry(request: HttpRequest, *, site: AdminSite) -> HttpResponse:
    """Retry the blocked deletions of a child database."""
    require(request, "operate")
    form = DatabaseForm(request.POST)
    if not form.is_valid():
        return _refused(request, site, form, "changelist")
    database = form.cleaned_data["database"]

    def retried(using: str) -> int:
        return actions.retry(None, database=database, actor=_actor(request), using=using)

    changed, complete = _in_each_log(request, database, retried)
    if any(changed):
        number = number_of(sum(changed), "deletion")
        messages.success(request, f"{number} will be tried again in {database}.")
    elif complete:
        messages.info(request, f"No deletion is blocked in {database}.")
    return _to(site, "changelist")


@require_POST
def retry_deletion(request: HttpRequest, using: str, pk: int, *, site: AdminSite) -> HttpResponse:
    """Retry one deletion where it is blocked."""
    require(request, "operate")
    if using not in relations.log_databases():
        raise Http404("no such log")
    connections.reach(using)
    changed = actions.retry([pk], actor=_actor(request), using=using)
    number = number_of(changed, "child database")
    if changed:
        messages.success(request, f"Deletion {pk} will be tried again in {number}.")
    else:
        messages.info(request, f"Deletion {pk} is not blocked.")
    return _to(site, "deletion", using, pk)


@require_POST
def retry_chosen(request: HttpRequest, *, site: AdminSite) -> HttpResponse:
    """Retry the deletions that were ticked, where they are blocked."""

    def retried(chosen: list[int], using: str) -> list[int]:
        return actions.retry_those(chosen, actor=_actor(request), using=using)

    return _on_chosen(request, site, retried, "will be tried again", "blocked")


@require_POST
def acknowledge_chosen(request: HttpRequest, *, site: AdminSite) -> HttpResponse:
    """Acknowledge the kept rows of the deletions that were ticked."""

    def acknowledged(chosen: list[int], using: str) -> list[int]:
        return actions.acknowledge_those(chosen, actor=_actor(request), reason="", using=using)

    has = "with kept rows to acknowledge"
    return _on_chosen(request, site, acknowledged, "acknowledged", has)


def _on_chosen(
    request: HttpRequest,
    site: AdminSite,
    act: Callable[[list[int], str], list[int]],
    done: str,
    precondition: str,
) -> HttpResponse:
    """Act on the deletions that were ticked, and return to the page on which they were."""
    require(request, "operate")
    form = ChosenForm(request.POST)
    if form.is_valid():
        chosen, using = form.cleaned_data["deletion"], form.cleaned_data["log"]
        connections.reach(using)
        changed = act(chosen, using)
        _tell(request, len({*changed}), len(chosen), done, precondition)
    else:
        for errors in form.errors.values():
            messages.error(request, " ".join(map(str, errors)))
    figures.forget()
    address = reverse("admin:integrity_dashboard_deletions", current_app=site.name)
    back = QueryDict(request.POST.get("back", "")[:BACK]).urlencode()
    return HttpResponseRedirect(f"{address}?{back}" if back else address)


def _tell(request: HttpRequest, changed: int, chosen: int, done: str, precondition: str) -> None:
    """Show how many of the chosen deletions were changed, and why not the others."""
    number = f"{changed:,} of {number_of(chosen, 'chosen deletion')}"
    verb = "was" if changed == 1 else "were"
    text = f"{number} {done}." if done.startswith("will") else f"{number} {verb} {done}."
    if changed < chosen:
        text += f" The others are not {precondition}." if changed else f" None is {precondition}."
    level = messages.SUCCESS if changed else messages.INFO
    messages.add_message(request, level, text)


@require_POST
def acknowledge(request: HttpRequest, using: str, pk: int, *, site: AdminSite) -> HttpResponse:
    """Acknowledge the rows that one deletion has kept."""
    require(request, "operate")
    if using not in relations.log_databases():
        raise Http404("no such log")
    connections.reach(using)
    changed = actions.acknowledge([pk], actor=_actor(request), reason="", using=using)
    number = number_of(changed, "child database")
    if changed:
        messages.success(request, f"Rows that deletion {pk} kept in {number} are acknowledged.")
    else:
        messages.info(request, f"Deletion {pk} has no kept rows to acknowledge.")
    return _to(site, "deletion", using, pk)


@require_POST
def scan_now(request: HttpRequest, *, site: AdminSite) -> HttpResponse:
    """Scan one relation for a limited time. Scans that beat starts continue from there."""
    require(request, "operate")
    form = ScanForm(request.POST)
    if not form.is_valid():
        return _refused(request, site, form, "relations")
    label, database = form.cleaned_data["relation"], form.cleaned_data["database"]
    using = relations.catalogue().relation(label).parent_databases[0]
    connections.reach(using)
    seen, unreachable = scan.scan(database, labels=[label], seconds=conf.current().scan_seconds)
    if any(scanned.rows_scanned or scanned.complete for scanned in seen):
        reason = " ".join(map(_sentence, seen))
        target = f"{label} in {database}"
        actions.audit("scan", target, actor=_actor(request), reason=reason, using=using)
    if unreachable:
        messages.error(request, f"Database {database} {public(unreachable)}")
    for scanned in seen:
        level = messages.WARNING if scanned.reason or scanned.suspects else messages.SUCCESS
        messages.add_message(request, level, _sentence(scanned))
    return _to(site, "scans")


def _sentence(scanned: scan.Scanned) -> str:
    missing = number_of(scanned.suspects, "missing parent")
    rows = f"{number_of(scanned.rows_scanned, 'row')}, {missing}"
    if scanned.complete:
        return f"Scan of {scanned.relation} in {scanned.database}: a pass is finished, {rows}."
    reason = public(scanned.reason) or "beat goes on from here"
    return f"Scan of {scanned.relation} in {scanned.database}: {rows}; not finished: {reason}."


@require_POST
def repair(request: HttpRequest, *, site: AdminSite) -> HttpResponse:
    """Recheck suspects and confirm them. Workers then remove their rows."""
    require(request, "repair")
    form = RepairForm(request.POST)
    known = {relation.label: relation for relation in relations.catalogue().relations}
    relation = known.get(request.POST.get("relation", ""))
    if relation is None or not relation.policy.cascades:
        raise Http404("no such relation, or none that is repaired")
    if not form.is_valid():
        return pages.repair_page(request, site=site, relation=relation, form=form)
    actor, override = _actor(request), form.cleaned_data["override"].strip()
    connections.reach(relation.parent_databases[0])
    (done,) = scan_repair.repair(
        [relation], override=override, actor=actor, audited=True, seconds=REPAIR_SECONDS
    )
    if done.brake or done.reason:
        return pages.repair_page(request, site=site, relation=relation, form=form, done=done)
    messages.success(
        request,
        f"Repair of {relation.label}: {len(done.confirmed):,} confirmed, which workers cascade now;"
        f" {done.cancelled:,} alive after all; {done.waiting:,} still wait for their recheck.",
    )
    return _to(site, "scans")


def _actor(request: HttpRequest) -> str:
    return str(request.user.get_username())[:200]


def _refused(
    request: HttpRequest, site: AdminSite, form: forms.Form, name: str
) -> HttpResponseRedirect:
    for field, errors in form.errors.items():
        messages.error(request, f"{field}: {' '.join(map(str, errors))}")
    return _to(site, name)


def _to(site: AdminSite, name: str, *args: object) -> HttpResponseRedirect:
    """Redirect to a page whose figures include what was done."""
    figures.forget()
    return HttpResponseRedirect(
        reverse(f"admin:integrity_dashboard_{name}", args=args, current_app=site.name)
    )
