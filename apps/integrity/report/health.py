"""Whether deletions are processed at all: the answer to a health probe, at the cost of a few rows.

At most five statements for each log, whatever its backlog and however many child databases.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from django.db import Error
from django.db.models import Max, Q
from django.db.models.functions import Coalesce, Now

from .. import relations
from ..backends import connections
from ..backends.backlogs import Backlog, backlogs
from ..exceptions import DatabaseUnreachable
from ..log import names
from ..models import ChildDatabase, Heartbeat
from .backlog import hindrances_of, state_of
from .heartbeats import NEVER, are_workers_silent, is_beat_silent
from .shared import Shared
from .unproven import overdue_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: Names of deletions that are not dispatched: this many are read.
RECORDED = 100
BEAT = "beat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What fails (of "logs", "beat" and "workers"), and the state of each child database."""

    failing: tuple[str, ...]
    databases: Mapping[str, str]


class Names(NamedTuple):
    """Parent and relation of a deletion."""

    parent: str
    relation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSeen:
    """Figures of one log: the ages of the last heartbeats in seconds, and the open work."""

    beat_seconds: float | None
    worker_seconds: float | None
    children: Sequence[ChildDatabase]
    recorded: Sequence[Names]
    backlogs: Mapping[str, Backlog]


def _health() -> Health:
    catalogue = relations.catalogue()
    seen, silent = list[LogSeen](), list[str]()
    for using in catalogue.log_databases:
        try:
            connections.reach(using)
            seen.append(_seen(using, catalogue.child_databases))
        except (DatabaseUnreachable, Error):
            silent.append(using)
    return judged(seen, catalogue.child_databases, logs_fail=bool(silent))


#: Shared by all probes of this process.
current_health = Shared(_health, times_longer=1.0)


def _seen(using: str, databases: Sequence[str]) -> LogSeen:
    beats = Heartbeat.objects.using(using).aggregate(
        now=Coalesce(Max(Now()), Now()),  # the second if there is no heartbeat yet
        beat=Max("seen_at", filter=Q(name=BEAT)),
        worker=Max("seen_at", filter=~Q(name=BEAT)),
    )
    now = beats["now"]
    recorded = names.recorded_names(using=using, most=RECORDED)
    late = dt.timedelta(seconds=overdue_seconds())
    return LogSeen(
        beat_seconds=_age(beats["beat"], now),
        worker_seconds=_age(beats["worker"], now),
        children=list(ChildDatabase.objects.using(using)),
        recorded=[Names(*pair) for pair in recorded],
        backlogs=backlogs(databases, now - late, using=using),
    )


def _age(moment: dt.datetime | None, now: dt.datetime) -> float | None:
    return None if moment is None else max(0.0, (now - moment).total_seconds())


def judged(seen: Sequence[LogSeen], databases: Sequence[str], *, logs_fail: bool) -> Health:
    """Return what fails, and the state of each child database, from what the logs say. Pure."""
    hindered: dict[str, dict[str, str]] = {}
    for row in (row for log in seen for row in log.children):
        hindered.setdefault(row.alias, {}).update(hindrances_of(row))
    waiting = {alias for log in seen for alias, work in log.backlogs.items() if work.waiting}
    waiting |= _awaited(name for log in seen for name in set(log.recorded))
    free = {alias for alias in waiting if alias in databases and not hindered.get(alias)}
    wrong = {
        "logs": logs_fail,
        "beat": is_beat_silent(_youngest(log.beat_seconds for log in seen)),
        "workers": bool(free) and are_workers_silent(_youngest(log.worker_seconds for log in seen)),
    }
    if not seen:  # no log answers, so nothing is known of beat and workers
        wrong = {"logs": logs_fail}
    return Health(
        failing=tuple(name for name, is_wrong in wrong.items() if is_wrong),
        databases={
            alias: _state(alias, seen, hindered.get(alias, {}), waiting=alias in waiting)
            for alias in databases
        }
        if seen
        else {},
    )


def _awaited(names: Iterable[Names]) -> set[str]:
    """Return the child databases that deletions with those names cascade into."""
    databases_of = relations.catalogue().databases_of
    return {alias for name in names for alias in databases_of(*name)}


def _youngest(ages: Iterable[float | None]) -> float:
    return min((age for age in ages if age is not None), default=NEVER)


def _state(
    alias: str, seen: Sequence[LogSeen], hindrances: dict[str, str], *, waiting: bool
) -> str:
    work = [log.backlogs[alias] for log in seen if alias in log.backlogs]
    return state_of(
        int(waiting),
        int(any(backlog.blocked for backlog in work)),
        hindrances,
        overdue=any(backlog.overdue for backlog in work),
    )
