"""How far each child database is behind: backlog, lag, rate, and why it is behind."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from django.db import connections
from django.db.models import Count, Min, Q, QuerySet
from django.db.models.functions import Now

from .. import relations
from ..backends import clocks
from ..backends.connections import silence
from ..control import actions
from ..log.renaming import Kind
from ..models import Cascade, ChildDatabase, Deletion
from . import names
from .pressure import awake_seconds, speed_of
from .reasons import TRIED, reasons_of
from .totals import total
from .unproven import NOTHING_DONE, figures_of_done, held_of, oldest, unproven_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .names import Unknown
    from .small_tables import SmallTables


#: The window over which the rate of finished deletions is measured.
RATE_SECONDS = 300
#: Databases that are asked at once whether they answer.
PROBES = 16


#: The figures of a database without such cascades.
NOTHING_OPEN = {"backlog": 0, "blocked": 0, "age": None, "waits": None, "blocked_reason": None}


@dataclass(slots=True)
class Recorded:
    """Deletions of one parent, along one relation, that have no cascades yet."""

    databases: tuple[str, ...]
    number: int
    oldest: dt.timedelta


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


def database_rows(logs: Mapping[str, SmallTables]) -> tuple[list[DatabaseRow], list[Unknown]]:
    """Return a row for each child database, and for each unknown alias that has open work.

    The small tables of each log have been read already.
    """
    unknown = [entry for using, small in logs.items() for entry in names.unknown_in(using, small)]
    reasons = {entry["name"]: entry["reason"] for entry in unknown if entry["kind"] == Kind.ALIAS}
    aliases = [*dict.fromkeys([*relations.catalogue().child_databases, *reasons])]
    figures = [_figures(using, aliases) for using in logs]
    children = [row for small in logs.values() for row in small.children]
    rows = [
        _database(alias, figures, [row for row in children if row.alias == alias])
        for alias in aliases
    ]
    why = reasons_of(logs) if any(row["backlog"] for row in rows) else {}
    waiting = names.waiting(logs, unknown, Cascade.CLAIMABLE)
    kept = sum((kept_in(using) for using in logs), Counter())
    for row in rows:
        row["reason"] = row["reason"] or why.get(row["database"], "")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFigures:
    """Figures of one log, by child database. A database without such cascades is in none."""

    #: What `figures_of_open` and `figures_of_done` return.
    open: Mapping[str, Mapping[str, Any]]
    done: Mapping[str, Mapping[str, Any]]
    #: Deletions done lately.
    lately: Mapping[str, int]
    recorded: Sequence[Recorded]


def _figures(using: str, aliases: Sequence[str]) -> LogFigures:
    """Return the figures of one log. Four statements, whatever the number of databases."""
    cascades = Cascade.objects.using(using).filter(database__in=aliases)
    lately = cascades.filter(done_at__gte=Now() - dt.timedelta(seconds=RATE_SECONDS))
    recorded = Deletion.objects.using(using).filter(Deletion.IS_RECORDED)
    ages = recorded.order_by().values_list("parent", "relation")
    return LogFigures(
        open=figures_of_open(cascades.filter(Cascade.IN_BACKLOG)),
        done=figures_of_done(cascades.filter(state=Cascade.State.DONE)),
        lately=dict(lately.order_by().values_list("database").annotate(number=total("size"))),
        recorded=[
            Recorded(relations.catalogue().databases_of(parent, relation), number, age)
            for parent, relation, number, age in ages.annotate(
                number=Count("pk"), age=clocks.age(Min("recorded_at"))
            )
        ],
    )


def _database(
    alias: str, logs: Sequence[LogFigures], known: Sequence[ChildDatabase]
) -> DatabaseRow:
    """Return the row of a child database, by its figures in each log. Pure."""
    found = [log.open.get(alias, NOTHING_OPEN) for log in logs]
    waiting = [group for log in logs for group in log.recorded if alias in group.databases]
    backlog = sum(figures["backlog"] for figures in found) + sum(group.number for group in waiting)
    blocked = sum(figures["blocked"] for figures in found)
    hindrances = {state: reason for row in known for state, reason in hindrances_of(row)}
    hindrance = "; ".join(hindrances.values())
    done = [log.done.get(alias, NOTHING_DONE) for log in logs]
    unproven = unproven_of(done, hindrance, held_of(known), awake_seconds(alias))
    speed = speed_of(alias, known)
    works = not hindrances and speed.share > 0
    rate = sum(log.lately.get(alias, 0) for log in logs) / RATE_SECONDS
    ages = [*(figures["age"] for figures in found), *(group.oldest for group in waiting)]
    return {
        "database": alias,
        "state": state_of(backlog, blocked, hindrances, overdue=unproven.overdue),
        "reason": hindrance,
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


def figures_of_open(cascades: QuerySet[Cascade]) -> dict[str, dict[str, Any]]:
    """Return database → figures of those cascades, which are not done. One statement.

    Keys: `backlog` and `blocked` (deletions), `age` (of the oldest), `waits` (a reason of one that
    waits) and `blocked_reason` (of one that is blocked).
    """
    blocked = Q(state=Cascade.State.BLOCKED)
    rows = (
        cascades.order_by()
        .values("database")
        .annotate(
            backlog=total("size"),
            blocked=total("size", filter=blocked),
            age=clocks.age(Min("recorded_at")),
            waits=Min("reason", filter=Q(state__in=TRIED) & ~Q(reason="")),
            blocked_reason=Min("reason", filter=blocked),
        )
    )
    return {row["database"]: dict(row) for row in rows}


def kept_in(using: str, most: int | None = None) -> Counter[str]:
    """Return child database → deletions in `most` unacknowledged cascades that left rows alone.

    It is one statement, over an index that holds only these.
    """
    rows = Cascade.objects.using(using).filter(Cascade.UNACKNOWLEDGED).order_by("database")
    counts = Counter[str]()
    for database, size in rows.values_list("database", "size")[:most]:
        counts[database] += size
    return counts


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
