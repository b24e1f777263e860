"""Beat and the workers, when they were last seen, and what each has claimed.

For the page; what is missing, and is a fault, is in processes.py.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db.models import Q

from .. import relations
from ..backends.first_rows import first_rows
from ..control.heartbeats import BEAT, BEAT_PROCESS
from ..log import names, tables
from ..models import Cascade, Heartbeat
from ..models.moments import ServerNow
from . import limits
from .heartbeats import SILENT_SECONDS, is_beat_silent, row_of, with_ages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .heartbeats import HeartbeatRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that works on a log. `queues` are those that it consumes; None if it is unknown.

    It is `silent` if it should have been seen since. A worker whose queues are unknown is seen only
    at work, so nobody can tell.
    """

    name: str
    seen_at: dt.datetime
    queues: tuple[str, ...] | None
    silent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What one task of a worker has claimed of one kind, the oldest deletion recorded then.

    It is done, or renewed, before `until`. The worker is "" where it is not known.
    """

    task: str
    worker: str
    database: str
    parent: str
    relation: str
    cascades: int
    deletions: int
    recorded_at: dt.datetime
    until: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """The processes that one log has seen, the latest first, and the claims on it.

    `more_processes` and `more_claims` say that not all are listed.
    """

    using: str
    processes: list[Process]
    claims: list[Claimed]
    more_processes: bool
    more_claims: bool


def processes(using: str) -> Processes:
    """Return the processes and the claims of one log: three statements, each bounded."""
    seen = [*_processes(using)]
    claims, more = _claims(using)
    return Processes(
        using=using,
        processes=seen[: limits.PROCESSES],
        claims=claims[: limits.CLAIMS],
        more_processes=len(seen) > limits.PROCESSES,
        more_claims=more or len(claims) > limits.CLAIMS,
    )


def _processes(using: str) -> Iterator[Process]:
    rows = with_ages(Heartbeat.objects.using(using)).order_by("-seen_at")
    for row in rows[: limits.PROCESSES + 1]:
        queues = None if row.queues is None else tuple(map(str, row.queues))
        yield Process(
            name=row.name, seen_at=row.seen_at, queues=queues, silent=is_silent(row_of(row))
        )


def is_silent(row: HeartbeatRow) -> bool:
    """Return whether a process should have been seen since. Pure.

    A process that records its own heartbeat is seen when it is idle, too, and notes its queues.
    """
    if row["name"] == BEAT:
        return is_beat_silent(row["seconds_ago"])
    own = row["queues"] is not None or row["name"].startswith(BEAT_PROCESS)
    return own and row["seconds_ago"] > SILENT_SECONDS


def _claims(using: str) -> tuple[list[Claimed], bool]:
    """Return what is claimed under a lease, by task, the latest first; and whether there is more.

    A claim is due when its lease ends, so claims are the first of what is due later. Backoffs may
    be among them, so it looks at `limits.PAGE_CASCADES` at most.
    """
    known = sorted({*relations.catalogue().places, *names.open_databases(using=using)})
    later = Q(state__in=Cascade.CLAIMABLE, due_at__gt=ServerNow())
    rows = tables.cascades(using).filter(later).order_by("due_at")
    most = limits.PAGE_CASCADES // max(1, len(known)) + 1
    columns = ("state", "owner", "parent", "relation", "size", "recorded_at", "due_at")
    groups = dict[tuple[str, ...], list[tuple[int, dt.datetime, dt.datetime]]]()
    read = Counter[str]()
    picked = first_rows(rows, known, most, *columns).values_list("database", *columns)
    for database, state, owner, parent, relation, size, recorded, due in picked:
        read[database] += 1
        if state == Cascade.State.RUNNING and due is not None:
            groups.setdefault((owner, database, parent, relation), []).append((size, recorded, due))
    claims = [
        Claimed(
            task=owner.partition(" ")[0],
            worker=owner.partition(" ")[2],
            database=database,
            parent=parent,
            relation=relation,
            cascades=len(held),
            deletions=sum(size for size, _, _ in held),
            recorded_at=min(recorded for _, recorded, _ in held),
            until=max(due for _, _, due in held),
        )
        for (owner, database, parent, relation), held in groups.items()
    ]
    claims.sort(key=lambda one: one.until, reverse=True)
    return claims, any(number >= most for number in read.values())
