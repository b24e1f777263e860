"""How far everything is: backlog, lag, scans, signs of life. What `status` says."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypedDict

from django.db import connections
from django.db.models import Count, Min, Q, QuerySet
from django.db.models.functions import Now

from .. import backends, relations
from ..backends import clocks
from ..backends.connections import silence
from ..control import actions, circuit_breaker
from ..log.deletions import leading
from ..log.renaming import Kind
from ..log.suspects import suspects_by_relation
from ..models import Cascade, ChildDatabase, Deletion, Heartbeat, Scan
from . import bounds, names, stuck
from .brakes import brakes
from .proofs import iso
from .proving import done_cascades, held_of, oldest, unproven_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .names import Unknown

#: The window over which the rate of finished cascades is measured.
RATE_SECONDS = 300
#: So many reasons are told.
REASONS = 20
#: Databases that are asked at once whether they answer.
LOOKS = 16


class DatabaseRow(TypedDict):
    """How far one child database is behind.

    `reason` is what hinders the database; or else why cascades into it wait or are blocked.
    `unproven` cascades are done and not verified; `unproven_seconds` is the age of the oldest of
    their deletions. One has been done for `waits_seconds`, which is `overdue` or not, and
    `unproven_reason` says why (proving.py).
    `unknown` counts what is in the backlog under names that the catalogue does not know: no worker
    does it, and it is not blocked.
    `paused_kind` is one of `ChildDatabase.Pause`, or "" where it is not paused.
    `kept` counts cascades that left rows alone because the value was taken over (Note [Keys that
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


class ScanRow(TypedDict):
    """How far the scan of one relation in one child database is, and what it guarantees.

    `coverage` is the share of the pass under way; every orphan that existed at `covers_at` was seen
    by `last_full_scan`. `throttle` is the number of keys of the next step. `waiting` counts the
    suspects of the relation that wait for a recheck, whatever database they were seen in;
    `brake` says why they would not be repaired now, or "".
    """

    relation: str
    database: str
    coverage: float | None
    eta_seconds: float | None
    last_full_scan: str | None
    covers_at: str | None
    age_seconds: float | None
    keys_scanned: int
    rows_scanned: int
    suspects: int
    orphans: int
    throttle: int
    waiting: int
    brake: str
    reason: str


class Pulse(TypedDict):
    """When a process was last seen, and by how much its clock was ahead of the log's then.

    `clock_skew_seconds` is None where that could not be told. Of beat it is by what its last tick
    said: less, if that one waited in the queue.
    """

    name: str
    seconds_ago: float
    clock_skew_seconds: float | None


class Status(TypedDict):
    """The whole picture."""

    databases: list[DatabaseRow]
    unknown: list[Unknown]
    deletions: dict[str, int]
    unreachable_logs: list[str]
    scans: list[ScanRow]
    workers: list[Pulse]
    beat: Pulse | None


def status(*, look: bool = False) -> Status:
    """Backlog, lag and signs of life, summed over the logs that answer.

    With `look`, the child databases that nobody has found away are asked whether they answer.
    Raises `DatabaseUnreachable` where no log does.
    """
    found, logs = relations.catalogue(), circuit_breaker.answering_logs()
    beats = [pulse for using in logs for pulse in pulses(using)]
    rows, unknown = _databases(logs)
    return {
        "databases": _looked_at(rows) if look else rows,
        "unknown": unknown,
        "deletions": _deletions(logs),
        "unreachable_logs": [using for using in found.log_databases if using not in logs],
        "scans": scans(),
        "workers": [pulse for pulse in beats if pulse["name"] != "beat"],
        "beat": next((pulse for pulse in beats if pulse["name"] == "beat"), None),
    }


def _databases(logs: Sequence[str]) -> tuple[list[DatabaseRow], list[Unknown]]:
    """Each child database of the catalogue, and each of the past that work is open in."""
    told = names.unknown(logs)
    reasons = {each["name"]: each["reason"] for each in told if each["kind"] == Kind.ALIAS}
    aliases = dict.fromkeys([*relations.catalogue().child_databases, *reasons])
    rows = [_database(alias, logs) for alias in aliases]
    waiting = names.waiting(logs, told, Cascade.CLAIMABLE)
    kept = sum((kept_in(using) for using in logs), Counter())
    for row in rows:
        row["kept"] = kept[row["database"]]
        row["unknown"] = waiting[row["database"]]
        if reason := reasons.get(row["database"]):
            row["state"], row["reason"], row["eta_seconds"] = "unknown", reason, None
            row["unknown"] = row["backlog"] - row["blocked"]
    return rows, told


def _looked_at(rows: list[DatabaseRow]) -> list[DatabaseRow]:
    """The same, with what does not answer although nobody has noted it."""
    unknown = [row["database"] for row in rows if row["state"] not in {"waiting", "unknown"}]
    with ThreadPoolExecutor(LOOKS) as threads:
        silent = dict(zip(unknown, threads.map(_silent, unknown), strict=True))
    for row in rows:
        if reason := silent.get(row["database"]):
            row["state"] = state_of(row["backlog"], row["blocked"], {"unreachable": reason})
            row["reason"], row["unreachable"] = reason, True
            row["eta_seconds"] = None
    return rows


def _silent(alias: str) -> str:
    """Why that database does not answer, or "".

    In a thread of its own, so on a new connection: the connect timeout bounds it, where a statement
    on one that is open may wait for ever; and several that are away cost no more than one.
    """
    try:
        return silence(alias)
    finally:
        connections[alias].close()


def of_log(using: str) -> tuple[list[DatabaseRow], list[ScanRow]]:
    """The same of one log alone: each child database, and each scan that it keeps."""
    rows, _ = _databases([using])
    return rows, list(_scans(using))


def scans() -> list[ScanRow]:
    """The scan of each relation in each child database, begun or not, in the logs that answer."""
    return [row for using in circuit_breaker.answering_logs() for row in _scans(using)]


def _scans(using: str) -> Iterator[ScanRow]:
    ages = {"lasts": clocks.age("began_at"), "age": clocks.age("covers_at")}
    scans = list(Scan.objects.using(using).annotate(**ages))
    rows = {(row.relation, row.database): row for row in scans}
    waiting = suspects_by_relation(using=using)
    refusals = brakes(using, waiting, scans, list(ChildDatabase.objects.using(using)))
    for relation in relations.catalogue().relations:
        if relation.parent_databases[0] != using:
            continue
        label = relation.label
        for database in relation.child_databases:
            row = rows.get((label, database)) or Scan()
            yield _progress(row, label, database, waiting.get(label, 0), refusals.get(label, ""))


def _progress(row: Scan, relation: str, database: str, waiting: int, refusal: str) -> ScanRow:
    under_way = row.began_at is not None
    coverage: float | None = 1.0 if row.finished_at else 0.0
    eta = None
    if row.began_at is not None:
        coverage = min(row.rows / row.expected, 1.0) if row.expected else None
        if coverage:
            eta = (clocks.age_of(row, "lasts") or 0.0) * (1 / coverage - 1)
    return {
        "relation": relation,
        "database": database,
        "coverage": coverage,
        "eta_seconds": eta,
        "last_full_scan": iso(row.finished_at),
        "covers_at": iso(row.covers_at),
        "age_seconds": clocks.age_of(row),
        "keys_scanned": row.keys if under_way else row.last_keys,
        "rows_scanned": row.rows if under_way else row.last_rows,
        "suspects": row.missing if under_way else row.last_missing,
        "orphans": row.orphans if under_way else row.last_orphans,
        "throttle": row.step_keys,
        "waiting": waiting,
        "brake": refusal,
        "reason": row.reason,
    }


def _deletions(logs: Sequence[str]) -> dict[str, int]:
    """Deletions by state. Of a long log, those that are verified are what the server estimates."""
    counts: Counter[str] = Counter(dict.fromkeys(Deletion.State.values, 0))
    for using in logs:
        rows = Deletion.objects.using(using)
        others = {
            str(state): rows.filter(state=state).count()
            for state in Deletion.State
            if state is not Deletion.State.VERIFIED
        }
        whole = backends.row_backend(using).estimate_rows(Deletion, using=using)
        if whole > bounds.EXACT_MAX:
            verified = max(whole - sum(others.values()), 0)
        else:
            verified = rows.filter(state=Deletion.State.VERIFIED).count()
        counts.update({**others, Deletion.State.VERIFIED: verified})
    return dict(counts)


def _database(alias: str, logs: Sequence[str]) -> DatabaseRow:
    backlog = blocked = recently = 0
    ages: list[dt.timedelta | None] = []
    done: list[dict[str, Any]] = []
    known: list[ChildDatabase] = []
    open_in_logs: list[QuerySet[Cascade]] = []
    for using in logs:
        cascades = Cascade.objects.using(using).filter(database=alias)
        for found in (open_cascades(cascades), _undispatched(alias, using)):
            backlog += found["backlog"]
            blocked += found["blocked"]
            ages.append(found["age"])
        done.append(done_cascades(cascades))
        open_in_logs.append(cascades)
        since = Now() - dt.timedelta(seconds=RATE_SECONDS)
        recently += cascades.filter(done_at__gte=since).count()
        known += ChildDatabase.objects.using(using).filter(alias=alias)
    hindrances = {state: reason for row in known for state, reason in hindrances_of(row)}
    hindrance = "; ".join(hindrances.values())
    unproven = unproven_of(done, hindrance, held_of(known))
    rate = recently / RATE_SECONDS
    return {
        "database": alias,
        "state": state_of(backlog, blocked, hindrances, overdue=unproven.overdue),
        "reason": hindrance or (stuck.reasons_of(open_in_logs) if backlog else ""),
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
        "eta_seconds": backlog / rate if backlog and rate and not hindrances else None,
    }


def delays(alias: str) -> list[float]:
    """Seconds from record to done of the cascades into a child database that ended lately, sorted.

    Those of the last `RATE_SECONDS`, the latest `bounds.COUNT_MAX` in each log.
    """
    since, found = Now() - dt.timedelta(seconds=RATE_SECONDS), list[float]()
    for using in circuit_breaker.answering_logs():
        rows = Cascade.objects.using(using).filter(database=alias, done_at__gte=since)
        pairs = rows.order_by("-done_at").values_list("recorded_at", "done_at")
        found += [
            (done - recorded).total_seconds()
            for recorded, done in pairs[: bounds.COUNT_MAX]
            if done is not None
        ]
    return sorted(found)


def unproven(databases: Sequence[str]) -> int:
    """Cascades into those databases that are done and that a worker will verify."""
    logs = circuit_breaker.answering_logs()
    number = sum(
        Cascade.objects.using(using)
        .filter(database__in=databases, state=Cascade.State.DONE)
        .count()
        for using in logs
    )
    if not number:
        return 0
    told = names.unknown(logs)
    nobodys = names.waiting(logs, told, [Cascade.State.DONE])
    for each in told:  # a database into which nothing leads any more
        if each["name"] in databases:
            nobodys[each["name"]] += each["work"]
    return max(number - sum(nobodys[alias] for alias in databases), 0)


def unfinished() -> dict[str, str]:
    """What is left to do, and why, by database; a log that is away is one of them."""
    found = dict[str, list[str]]()
    logs = circuit_breaker.answering_logs()
    for using in relations.catalogue().log_databases:
        if using not in logs:
            found[using] = ["the log cannot be reached"]
            continue
        for database, line in _unfinished(using):
            found.setdefault(database, []).append(line)
    return {database: "; ".join(lines) for database, lines in found.items()}


def _unfinished(using: str) -> Iterator[tuple[str, str]]:
    recorded = Deletion.objects.using(using).filter(leading(), state=Deletion.State.RECORDED)
    if number := recorded.count():
        yield using, f"{number:,} deletions not dispatched"
    cascades = Cascade.objects.using(using).filter(Cascade.IN_BACKLOG)
    groups = cascades.values_list("database", "state", "reason").order_by("database", "state")
    for database, state, reason, number in groups.annotate(Count("pk"))[:REASONS]:
        why = "; ".join(dict(_hindrances(database, using)).values()) or reason
        yield database, f"{number:,} {state}" + (f", {why}" if why else "")


def open_cascades(cascades: QuerySet[Cascade], most: int | None = None) -> dict[str, Any]:
    """Backlog, blocked and the greatest age of cascades that are not done, or of `most` of them.

    And one reason of those that are blocked, and of those that wait.
    """
    return cascades.filter(Cascade.IN_BACKLOG)[:most].aggregate(
        backlog=Count("pk"),
        blocked=Count("pk", filter=Q(state=Cascade.State.BLOCKED)),
        age=clocks.age(Min("recorded_at")),
        waits=Min("reason", filter=Q(state__in=stuck.TRIED) & ~Q(reason="")),
        # The last one: from here on, its name hides the column.
        reason=Min("reason", filter=Q(state=Cascade.State.BLOCKED)),
    )


def kept_in(using: str, most: int | None = None) -> Counter[str]:
    """Child database → cascades that left rows alone, and nobody has acknowledged; `most` of all.

    In one statement, along an index that holds nothing else.
    """
    rows = Cascade.objects.using(using).filter(Cascade.UNACKNOWLEDGED).order_by("database")
    return Counter(rows.values_list("database", flat=True)[:most])


def _undispatched(alias: str, using: str) -> dict[str, Any]:
    """Recorded deletions that will fan out to `alias`: they are behind, too."""
    recorded = Deletion.objects.using(using).filter(leading(alias), state=Deletion.State.RECORDED)
    counts = recorded.aggregate(backlog=Count("pk"), age=clocks.age(Min("recorded_at")))
    return {**counts, "blocked": 0}


def _hindrances(alias: str, using: str) -> Iterator[tuple[str, str]]:
    """State and reason of whatever keeps a log from working on a child database."""
    for row in ChildDatabase.objects.using(using).filter(alias=alias):
        yield from hindrances_of(row)


def hindrances_of(row: ChildDatabase) -> Iterator[tuple[str, str]]:
    """State and reason of whatever keeps one log from working on the child database."""
    if reason := actions.reason_of_pause(row):
        yield "paused", reason
    if row.unreachable_since is not None:
        yield "unreachable", row.reason


def kind_of_pause(known: Iterable[ChildDatabase]) -> str:
    """Return why a child database is paused, by its rows in several logs: the worst of them. Pure.

    One of `ChildDatabase.Pause`, or "" where none has paused it.
    """
    kinds = {row.paused_kind for row in known}
    mismatch = ChildDatabase.Pause.IDENTITY_MISMATCH
    return str(mismatch) if mismatch in kinds else max(kinds, default="")


def state_of(
    backlog: int, blocked: int, hindrances: dict[str, str], *, overdue: bool = False
) -> str:
    """One word for a child database. Pure."""
    if hindrances:
        return "waiting"
    if blocked:
        return "blocked"
    if overdue:
        return "unproven"
    return "working" if backlog else "idle"


def pulses(using: str) -> Iterator[Pulse]:
    """When each process was last seen by that log."""
    rows = Heartbeat.objects.using(using).annotate(age=clocks.age("seen_at")).order_by("name")
    for name, age, skew in rows.values_list("name", "age", "clock_skew_seconds"):
        seconds = clocks.seconds(age) or 0.0
        yield {"name": name, "seconds_ago": seconds, "clock_skew_seconds": skew}
