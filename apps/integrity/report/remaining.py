"""What a drain leaves undone, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Sum

from .. import relations
from ..conf.steps import is_step
from ..control import circuit_breaker
from ..log import beside
from ..log.deletions import leading
from ..models import Cascade, ChildDatabase, Deletion
from . import names
from .lengths import number_of
from .rows import hindrances_of
from .work import work_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


#: At most this many reasons are listed for each log.
REASONS = 20


def unverified(databases: Sequence[str]) -> int:
    """Return the number of deletions done in those databases that a worker will verify.

    With them come those that wait for this in erasure steps.
    """
    logs = circuit_breaker.answering_logs()
    steps = [place for place in databases if is_step(place)]
    behind = sum(beside.waiting(steps, using=using) for using in logs if steps)
    works = [work_of(using) for using in logs]
    done = [group for work in works for group in work.of(Cascade.State.DONE)]
    number = sum(group.number for group in done if group.database in databases)
    if not number:
        return behind
    unknown = names.unknown(logs)
    unclaimable = names.waiting(works, [Cascade.State.DONE])
    for entry in unknown:  # a database that no relation cascades into any more
        if entry["name"] in databases:
            unclaimable[entry["name"]] += entry["work"]
    return max(number - sum(unclaimable[alias] for alias in databases), 0) + behind


def unfinished() -> dict[str, str]:
    """Return what is left to do, and why, by database; an unreachable log is one of them."""
    reasons = dict[str, list[str]]()
    logs = circuit_breaker.answering_logs()
    for using in relations.catalogue().log_databases:
        if using not in logs:
            reasons[using] = ["the log cannot be reached"]
            continue
        for database, line in _unfinished(using):
            reasons.setdefault(database, []).append(line)
    return {database: "; ".join(lines) for database, lines in reasons.items()}


def _unfinished(using: str) -> Iterator[tuple[str, str]]:
    recorded = Deletion.objects.using(using).filter(leading(), Deletion.IS_RECORDED)
    if number := recorded.count():
        yield using, f"{number_of(number, 'deletion')} not dispatched"
    cascades = Cascade.objects.using(using).filter(Cascade.IN_BACKLOG)
    known = dict[str, list[str]]()
    for row in ChildDatabase.objects.using(using):
        known[row.alias] = [text for _, text in hindrances_of(row)]
    groups = cascades.values_list("database", "state", "reason").order_by("database", "state")
    for database, state, reason, number in groups.annotate(Sum("size"))[:REASONS]:
        if is_step(database) and reason.startswith(beside.WAITS):
            continue  # there is nothing to do but the verification
        why = "; ".join(known.get(database, [])) or reason
        yield database, f"{number:,} {state}" + (f", {why}" if why else "")
