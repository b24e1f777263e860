"""How far each child database is behind: backlog, lag, rate, and why it is behind."""

from __future__ import annotations

import datetime as dt
import itertools
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypedDict

from django.db import connections
from django.db.models import Count, Min, Q, QuerySet
from django.db.models.functions import Now

from .. import relations
from ..backends import clocks
from ..backends.connections import silence
from ..control import actions, circuit_breaker
from ..log.deletions import leading
from ..log.renaming import Kind
from ..models import Cascade, ChildDatabase, Deletion
from . import limits, names
from .pressure import awake_seconds, child_databases, speed_of
from .reasons import TRIED, reasons_of
from .totals import sum_of, total
from .unproven import done_cascades, held_of, oldest, unproven_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .names import Unknown


#: The window over which the rate of finished deletions is measured.
RATE_SECONDS = 300
#: Databases that are asked at once whether they answer.
PROBES = 16


class DatabaseRow(TypedDict):
    """How far one child database is behind.

    `reason` is why the database cannot be worked on; else why cascades into it wait or are blocked.
    `unproven` deletions are done and not verified; `unproven_seconds` is the age of the oldest of
    them. The oldest has been done for `waits_seconds`. `overdue` is whether that is too
    long, and `unproven_reason` says why it is not verified (unproven.py).
    `unknown` counts deletions in the backlog, other than blocked ones, under names that the
    catalogue does not know. No worker does them.
    `paused_kind` is one of `ChildDatabase.Pause`, or "" if it is not paused.
    `pace` is the share of full speed that the setting `pressure` allows now, 0 in quiet hours;
    `pace_reason` says why it is less (pressure.py).
    `kept` counts deletions that left rows alone because the value was taken over (Note [Keys that
    come back] in cascade/live_check.py), and that no operator has acknowledged.
    """

    database: str
    state: str
    reason: str
    unreachable: bool
    paused: bool
    paused_kind: str
    backlog: int
    blocked: int
    unknown: int
    kept: int
    lag_seconds: float | None
    unproven: int
    unproven_seconds: float | None
    unproven_reason: str
    waits_seconds: float | None
    overdue: bool
    rate: float
    eta_seconds: float | None
    pace: float
    pace_reason: str


def database_rows(logs: Sequence[str]) -> tuple[list[DatabaseRow], list[Unknown]]:
    """Return a row for each child database, and for each unknown alias that has open work."""
    unknown = names.unknown(logs)
    reasons = {entry["name"]: entry["reason"] for entry in unknown if entry["kind"] == Kind.ALIAS}
    aliases = dict.fromkeys([*relations.catalogue().child_databases, *reasons])
    rows = [_database(alias, logs) for alias in aliases]
    waiting = names.waiting(logs, unknown, Cascade.CLAIMABLE)
    kept = sum((kept_in(using) for using in logs), Counter())
    for row in rows:
        row["kept"] = kept[row["database"]]
        row["unknown"] = waiting[row["database"]]
        if reason := reasons.get(row["database"]):
            row["state"], row["reason"], row["eta_seconds"] = "unknown", reason, None
            row["unknown"] = row["backlog"] - row["blocked"]
    return rows, unknown


def probed(rows: list[DatabaseRow]) -> list[DatabaseRow]:
    """Return the rows, after connecting to each database that no log reports as hindered."""
    asked = [row["database"] for row in rows if row["state"] not in {"waiting", "unknown"}]
    with ThreadPoolExecutor(PROBES) as threads:
        silent = dict(zip(asked, threads.map(_silence_of, asked), strict=True))
    for row in rows:
        if reason := silent.get(row["database"]):
            row["state"] = state_of(row["backlog"], row["blocked"], {"unreachable": reason})
            row["reason"], row["unreachable"] = reason, True
            row["eta_seconds"] = None
    return rows


def _silence_of(alias: str) -> str:
    """Return why that database does not answer, or "".

    It runs in its own thread, so it opens a new connection, and the connect timeout bounds it. A
    statement on an open connection could wait without end. The threads run at the same time, so
    several unreachable databases take no longer than one.
    """
    try:
        return silence(alias)
    finally:
        connections[alias].close()


def _database(alias: str, logs: Sequence[str]) -> DatabaseRow:
    backlog = blocked = recently = 0
    ages: list[dt.timedelta | None] = []
    done: list[dict[str, Any]] = []
    known: list[ChildDatabase] = []
    open_in_logs: list[QuerySet[Cascade]] = []
    for using in logs:
        cascades = Cascade.objects.using(using).filter(database=alias)
        for figures in (open_cascades(cascades), _undispatched(alias, using)):
            backlog += figures["backlog"]
            blocked += figures["blocked"]
            ages.append(figures["age"])
        done.append(done_cascades(cascades))
        open_in_logs.append(cascades)
        since = Now() - dt.timedelta(seconds=RATE_SECONDS)
        recently += sum_of("size", cascades.filter(done_at__gte=since))
        known += child_databases(using).filter(alias=alias)
    hindrances = {state: reason for row in known for state, reason in hindrances_of(row)}
    hindrance = "; ".join(hindrances.values())
    unproven = unproven_of(done, hindrance, held_of(known), awake_seconds(alias))
    rate = recently / RATE_SECONDS
    speed = speed_of(alias, known)
    works = not hindrances and speed.share > 0
    return {
        "database": alias,
        "state": state_of(backlog, blocked, hindrances, overdue=unproven.overdue),
        "reason": hindrance or (reasons_of(open_in_logs) if backlog else ""),
        "unreachable": "unreachable" in hindrances,
        "paused": "paused" in hindrances,
        "paused_kind": kind_of_pause(known),
        "backlog": backlog,
        "blocked": blocked,
        "unknown": 0,
        "kept": 0,
        "lag_seconds": oldest(ages),
        "unproven": unproven.number,
        "unproven_seconds": unproven.seconds,
        "unproven_reason": unproven.reason,
        "waits_seconds": unproven.waits_seconds,
        "overdue": unproven.overdue,
        "rate": rate,
        "eta_seconds": backlog / rate if backlog and rate and works else None,
        "pace": speed.share,
        "pace_reason": speed.reason,
    }


def delays(alias: str) -> list[tuple[float, int]]:
    """Return the seconds from record to done, and how many deletions took at most that, sorted.

    It looks at the last `RATE_SECONDS`, and at most at the latest `limits.COUNT_MAX` cascades of
    each log. The deletions of a cascade count from the record of the first of them.
    """
    since, found = Now() - dt.timedelta(seconds=RATE_SECONDS), list[tuple[float, int]]()
    for using in circuit_breaker.answering_logs():
        rows = Cascade.objects.using(using).filter(database=alias, done_at__gte=since)
        latest = rows.order_by("-done_at").values_list("recorded_at", "done_at", "size")
        found += [
            ((done - recorded).total_seconds(), size)
            for recorded, done, size in latest[: limits.COUNT_MAX]
            if done is not None
        ]
    return sorted(found)


def quantile(share: float, delays: Sequence[tuple[float, int]]) -> float:
    """Return the delay that this share of the deletions does not exceed. Pure."""
    sums = itertools.accumulate(number for _, number in delays)
    place = share * sum(number for _, number in delays)
    pairs = zip(delays, sums, strict=True)
    return next((seconds for (seconds, _), total in pairs if total > place), delays[-1][0])


def open_cascades(cascades: QuerySet[Cascade], most: int | None = None) -> dict[str, Any]:
    """Return figures of the cascades that are not done, or of `most` of them.

    Keys: `backlog` and `blocked` (deletions), `age` (of the oldest), `waits` (a reason of one that
    waits) and `reason` (of one that is blocked).
    """
    return cascades.filter(Cascade.IN_BACKLOG)[:most].aggregate(
        backlog=total("size"),
        blocked=total("size", filter=Q(state=Cascade.State.BLOCKED)),
        age=clocks.age(Min("recorded_at")),
        waits=Min("reason", filter=Q(state__in=TRIED) & ~Q(reason="")),
        # The last one: from here on, its name hides the column.
        reason=Min("reason", filter=Q(state=Cascade.State.BLOCKED)),
    )


def kept_in(using: str, most: int | None = None) -> Counter[str]:
    """Return child database → deletions in `most` unacknowledged cascades that left rows alone.

    It is one statement, over an index that holds only these.
    """
    rows = Cascade.objects.using(using).filter(Cascade.UNACKNOWLEDGED).order_by("database")
    counts = Counter[str]()
    for database, size in rows.values_list("database", "size")[:most]:
        counts[database] += size
    return counts


def _undispatched(alias: str, using: str) -> dict[str, Any]:
    """Return figures of recorded deletions that will cascade into `alias`: backlog, too."""
    recorded = Deletion.objects.using(using).filter(leading(alias), Deletion.IS_RECORDED)
    counts = recorded.aggregate(backlog=Count("pk"), age=clocks.age(Min("recorded_at")))
    return {**counts, "blocked": 0}


def hindrances(alias: str, using: str) -> Iterator[tuple[str, str]]:
    """Yield state and reason of whatever keeps a log from working on a child database."""
    for row in ChildDatabase.objects.using(using).filter(alias=alias):
        yield from hindrances_of(row)


def hindrances_of(row: ChildDatabase) -> Iterator[tuple[str, str]]:
    """Yield the same from a row that has been read. Pure."""
    if reason := actions.reason_of_pause(row):
        yield "paused", reason
    if row.unreachable_since is not None:
        yield "unreachable", row.reason


def kind_of_pause(known: Iterable[ChildDatabase]) -> str:
    """Return why a child database is paused, by its rows in several logs: the worst of them. Pure.

    One of `ChildDatabase.Pause`, or "" where none has paused it.
    """
    kinds = {row.paused_kind for row in known}
    refusals = [str(kind) for kind in ChildDatabase.REFUSALS if kind in kinds]
    return refusals[0] if refusals else max(kinds, default="")


def state_of(
    backlog: int, blocked: int, hindrances: dict[str, str], *, overdue: bool = False
) -> str:
    """Return the state of a child database as one word. Pure."""
    if hindrances:
        return "waiting"
    if blocked:
        return "blocked"
    if overdue:
        return "unproven"
    return "working" if backlog else "idle"
