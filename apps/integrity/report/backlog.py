"""How far each child database is behind: backlog, lag, rate, and why it is behind."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from django.db import connections

from .. import relations
from ..backends.connections import silence
from ..control import actions
from ..log.renaming import Kind
from ..models import Cascade, ChildDatabase
from .names import unknown_among, waiting
from .pressure import awake_seconds, speed_of
from .reasons import reasons_of
from .small_tables import SmallTables
from .unproven import held_of, oldest, unproven_of
from .work import KEPT_ROWS, LATELY, RATE_SECONDS, RECORDED, Group, Work, work_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .names import Unknown


#: Databases that are asked at once whether they answer.
PROBES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFigures:
    """What the rows of the child databases and of the scans are made of, in one log."""

    small: SmallTables
    work: Work

    @classmethod
    def of(cls, using: str) -> LogFigures:
        """Read the work, and the small tables when they are needed: at most three statements."""
        return cls(small=SmallTables(using), work=work_of(using))


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
    `eta_seconds` is until what is due is done: what failed and waits, or is blocked, is left out.
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


def database_rows(logs: Mapping[str, LogFigures]) -> tuple[list[DatabaseRow], list[Unknown]]:
    """Return a row for each child database, and for each unknown alias that has open work."""
    unknown = [
        entry
        for using, log in logs.items()
        for entry in unknown_among(using, log.small.children, log.work.open_names)
    ]
    reasons = {entry["name"]: entry["reason"] for entry in unknown if entry["kind"] == Kind.ALIAS}
    aliases = dict.fromkeys([*relations.catalogue().child_databases, *reasons])
    groups, children = _by_database(logs.values()), dict[str, list[ChildDatabase]]()
    for child in (child for log in logs.values() for child in log.small.children):
        children.setdefault(child.alias, []).append(child)
    rows = [_database(alias, groups.get(alias, []), children.get(alias, [])) for alias in aliases]
    why = reasons_of(logs) if any(row["backlog"] for row in rows) else {}
    stuck = waiting((log.work for log in logs.values()), Cascade.CLAIMABLE)
    for row in rows:
        row["reason"] = row["reason"] or why.get(row["database"], "")
        row["unknown"] = stuck[row["database"]]
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


def _by_database(logs: Iterable[LogFigures]) -> dict[str, list[Group]]:
    """Return child database → the work in it, with what has to be dispatched into it. Pure."""
    catalogue, groups = relations.catalogue(), dict[str, list[Group]]()
    for group in (group for log in logs for group in log.work.groups):
        aliases: Sequence[str] = [group.database]
        if group.kind == RECORDED:
            aliases = catalogue.databases_of(group.parent, group.relation)
        for alias in aliases:
            groups.setdefault(alias, []).append(group)
    return groups


def _database(alias: str, groups: Sequence[Group], known: Sequence[ChildDatabase]) -> DatabaseRow:
    """Return the row of a child database, by its work and its rows in all logs. Pure."""
    waiting = [group for group in groups if group.kind in {RECORDED, *Cascade.OPEN}]
    number = Counter[str]()
    for group in groups:
        number[group.kind] += group.number
    backlog, blocked = sum(group.number for group in waiting), number[Cascade.State.BLOCKED]
    hindrances = {state: reason for row in known for state, reason in hindrances_of(row)}
    hindrance = "; ".join(hindrances.values())
    done = [group for group in groups if group.kind == Cascade.State.DONE]
    unproven = unproven_of(done, hindrance, held_of(known), awake_seconds(alias))
    speed = speed_of(alias, known)
    works = not hindrances and speed.share > 0
    rate = number[LATELY] / RATE_SECONDS
    going_on = backlog - blocked - number[Cascade.State.WAITING]
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
        "kept": number[KEPT_ROWS],
        "lag_seconds": oldest(group.age for group in waiting),
        "unproven": unproven.number,
        "unproven_seconds": unproven.seconds,
        "unproven_reason": unproven.reason,
        "waits_seconds": unproven.waits_seconds,
        "overdue": unproven.overdue,
        "rate": rate,
        "eta_seconds": going_on / rate if going_on and rate and works else None,
        "pace": speed.share,
        "pace_reason": speed.reason,
    }


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
