"""Whether deletions are processed at all: the answer to a health probe, at the cost of a few rows.

At most five statements for each log, whatever its backlog and however many child databases. The
faults are those of the first page, as far as these statements tell.

Note [Calmer than a page]: who probes may restart the site. So a worker is missing here once nobody
has consumed the queue for a minute.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import Error
from django.db.models import Q

from .. import relations
from ..backends import clocks, connections
from ..backends.backlogs import backlogs
from ..control.heartbeats import BEAT
from ..exceptions import DatabaseUnreachable
from ..log import names
from ..models import Cascade, Heartbeat
from ..models.moments import ServerNow
from . import probes
from .backlog import by_database
from .fault import Figures
from .faults import faults_of
from .heartbeats import WORKER_SILENT_SECONDS, row_of, with_ages
from .pressure import child_databases
from .rows import database_row
from .shared import Shared
from .unproven import overdue_seconds
from .work import RECORDED, Group

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..backends.backlogs import Backlog
    from ..models import ChildDatabase
    from .fault import Fault
    from .heartbeats import HeartbeatRow

#: Names of deletions that are not dispatched: this many are read.
RECORDED_MAX = 100
#: The age of something whose age was not asked.
AT_LEAST = dt.timedelta()
#: Kinds of faults that fail the probe, and how it calls them.
FAILING = {"log_unreachable": "logs", "beat": "beat", "workers": "workers"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What fails (of "logs", "beat" and "workers"), all faults, and the state of each database."""

    failing: tuple[str, ...]
    databases: Mapping[str, str]
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSeen:
    """Figures of one log: the last heartbeats, the child databases, and the open work."""

    processes: Sequence[HeartbeatRow]
    children: Sequence[ChildDatabase]
    groups: Sequence[Group]


def _health() -> Health:
    catalogue = relations.catalogue()
    seen, silent = list[LogSeen](), list[str]()
    for using in catalogue.log_databases:
        try:
            connections.reach(using)
            seen.append(_seen(using, catalogue.places))
        except (DatabaseUnreachable, Error):
            silent.append(using)
    return judged(seen, catalogue.places if seen else (), silent)


#: Shared by all probes of this process.
current_health = Shared(_health, times_longer=1.0)


def _seen(using: str, databases: Sequence[str]) -> LogSeen:
    lately = ServerNow() - dt.timedelta(seconds=WORKER_SILENT_SECONDS)
    asked = Q(name__startswith=BEAT) | Q(seen_at__gte=lately)
    beats = with_ages(Heartbeat.objects.using(using).filter(asked))
    processes = list(beats.annotate(now=ServerNow()))
    now = processes[0].now if processes else clocks.read(using).at
    late = dt.timedelta(seconds=overdue_seconds())
    recorded = names.recorded_names(using=using, most=RECORDED_MAX)
    groups = [Group(RECORDED, "", *pair, 1, AT_LEAST, due=AT_LEAST) for pair in recorded]
    for alias, backlog in backlogs(databases, now - late, using=using).items():
        groups += _groups(alias, backlog)
    return LogSeen(
        processes=[row_of(row) for row in processes],
        children=list(child_databases(using)),
        groups=groups,
    )


def _groups(alias: str, backlog: Backlog) -> Iterator[Group]:
    """Yield what is known of the work in a database: that there is some, but not how much."""
    late = dt.timedelta(seconds=overdue_seconds() + 1)
    kinds = {
        Cascade.State.PENDING: backlog.waiting and not backlog.failing,
        Cascade.State.WAITING: backlog.failing,
        Cascade.State.BLOCKED: backlog.blocked,
    }
    for kind, holds in kinds.items():
        if holds:
            due = None if kind == Cascade.State.BLOCKED else AT_LEAST
            yield Group(kind, alias, "", "", 1, AT_LEAST, due=due)
    if backlog.overdue:
        yield Group(Cascade.State.DONE, alias, "", "", 1, late, late)


def judged(seen: Sequence[LogSeen], databases: Sequence[str], silent: Sequence[str]) -> Health:
    """Return what fails, and the state of each child database, from what the logs say. Pure."""
    groups = by_database(group for log in seen for group in log.groups)
    known = [row for log in seen for row in log.children]
    rows = [
        database_row(alias, groups.get(alias, []), [row for row in known if row.alias == alias])
        for alias in databases
    ]
    answers = probes.current()
    figures = Figures(
        databases=rows,
        processes=[row for log in seen for row in log.processes],
        unreachable_logs=silent,
        celery=answers.celery and bool(seen),  # no log answers, so nothing is known of beat
        broker=answers.broker,
        broker_seconds=answers.broker_seconds,
        due_after=0.0,
        silent_after=WORKER_SILENT_SECONDS,
    )
    faults = faults_of(figures)
    kinds = dict.fromkeys(FAILING[fault.kind] for fault in faults if fault.kind in FAILING)
    states = {row["database"]: row["state"] for row in rows}
    return Health(failing=tuple(kinds), databases=states, faults=faults)
