"""The figures of the first page, read in a bounded number of bounded queries."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import Min, Q

from .. import relations
from ..backends import clocks
from ..backends.first_rows import first_rows
from ..control import circuit_breaker
from ..log import suspects
from ..models import Cascade, Deletion
from . import heartbeats, limits
from .backlog import hindrances_of, kind_of_pause, state_of
from .brakes import brakes, suspected_keys
from .heartbeats import HeartbeatRow, heartbeats_in
from .names import Unknown, unknown_in
from .pressure import awake_seconds, speed_of
from .reasons import TRIED
from .small_tables import SmallTables
from .throughput import Throughput, throughput_of
from .totals import total
from .unproven import done_in, held_of, oldest, unproven_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping, Sequence

    from django.db.models import QuerySet

    from ..models import ChildDatabase, Scan
    from .work import Group


#: A backlog younger than this is work, not a delay.
BEHIND_SECONDS = 60
#: The figures of a database without such cascades.
NOTHING_OPEN = {
    "backlog": 0,
    "blocked": 0,
    "tried": 0,
    "age": None,
    "waits": None,
    "blocked_reason": None,
}


@dataclass(slots=True)
class Recorded:
    """Deletions of one parent, along one relation, that have no cascades yet."""

    databases: tuple[str, ...]
    number: int
    oldest: dt.timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What someone on call wants to know of one child database."""

    database: str
    state: str
    reason: str
    paused: bool
    paused_kind: str
    unreachable: bool
    backlog: int
    blocked: int
    blocked_reason: str
    unverified: int
    lag_seconds: float | None
    #: Until what is due is done: what failed and waits, or is blocked, is left out.
    eta_seconds: float | None
    throughput: Throughput
    unverified_seconds: float | None = None
    unverified_reason: str = ""
    overdue: bool = False
    #: Why work that was tried waits, although the database can be worked on.
    waiting_reason: str = ""
    #: Why it is worked on more slowly than possible, or "".
    pace_reason: str = ""
    #: Deletions that left rows alone because the value was taken over, unacknowledged.
    kept: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Everything that the first page shows."""

    cards: tuple[Card, ...]
    workers: tuple[HeartbeatRow, ...]
    beat: HeartbeatRow | None
    #: Those that scans suspect, each once however many relations miss it.
    missing_parents: int
    brakes: dict[str, str]
    #: The age of the oldest orphan that no finished scan has looked for; None: not all was scanned.
    orphan_age_seconds: float | None
    unscanned: int
    unreachable_logs: tuple[str, ...]
    #: Open work under unknown names.
    unknown: tuple[Unknown, ...] = ()

    @property
    def beat_is_silent(self) -> bool:
        """Return whether the last tick of beat is too old."""
        return heartbeats.is_beat_silent(heartbeats.youngest([self.beat] if self.beat else []))

    @property
    def workers_are_silent(self) -> bool:
        """Return whether there is work, and the last worker was seen too long ago."""
        waiting = any(card.backlog > card.blocked for card in self.cards if not card.reason)
        return waiting and heartbeats.are_workers_silent(heartbeats.youngest(self.workers))


def collect_overview() -> Overview:
    """Return the figures of the first page, read in a bounded number of bounded queries.

    Raises `DatabaseUnreachable` if no log answers.
    """
    catalogue, logs = relations.catalogue(), circuit_breaker.answering_logs()
    small = {using: SmallTables(using) for using in logs}
    beats = [row for using in logs for row in heartbeats_in(using)]
    scanned = [row for tables in small.values() for row in tables.scans]
    suspected = {using: suspected_keys(using, small[using].scans) for using in logs}
    ages = _orphan_ages(scanned, logs)
    return Overview(
        cards=_cards(catalogue.child_databases, small),
        workers=tuple(row for row in beats if row["name"] != "beat"),
        beat=next((row for row in beats if row["name"] == "beat"), None),
        missing_parents=sum(map(_missing_parents, suspected, suspected.values())),
        brakes={
            label: reason
            for using in logs
            for label, reason in brakes(using, suspected[using], small[using]).items()
        },
        orphan_age_seconds=None if None in ages else max(filter(None, ages), default=None),
        unscanned=ages.count(None),
        unreachable_logs=tuple(using for using in catalogue.log_databases if using not in logs),
        unknown=tuple(entry for using in logs for entry in unknown_in(using, small[using])),
    )


def _missing_parents(using: str, suspected: Mapping[str, int]) -> int:
    """Return how many parents a log suspects to be missing; where counting stopped, at least so."""
    number = sum(suspected.values())
    return suspects.missing_parents(using=using) if 0 < number <= limits.COUNT_MAX else number


def _recorded(logs: Sequence[str]) -> list[Recorded]:
    """Return the oldest deletions of each log that are not dispatched, grouped by their names."""
    groups: dict[tuple[str, str], Recorded] = {}
    for using in logs:
        rows = Deletion.objects.using(using).filter(Deletion.IS_RECORDED).order_by("pk")
        aged = rows.annotate(age=clocks.age("recorded_at"))
        names = aged.values_list("parent", "relation", "age")[: limits.COUNT_MAX + 1]
        for parent, relation, age in names:
            if (group := groups.get((parent, relation))) is None:
                databases = relations.catalogue().databases_of(parent, relation)
                group = groups[parent, relation] = Recorded(databases, 0, age)
            group.number += 1
            group.oldest = max(group.oldest, age)
    return list(groups.values())


def figures_of_open(cascades: QuerySet[Cascade]) -> dict[str, dict[str, Any]]:
    """Return database → figures of those cascades, which are not done. One statement.

    Keys: `backlog`, `blocked` and `tried` (deletions, the last ones wait for another attempt),
    `age` (of the oldest), `waits` (a reason of one that waits) and `blocked_reason` (of one that is
    blocked).
    """
    blocked = Q(state=Cascade.State.BLOCKED)
    rows = (
        cascades.order_by()
        .values("database")
        .annotate(
            backlog=total("size"),
            blocked=total("size", filter=blocked),
            tried=total("size", filter=Q(state=Cascade.State.WAITING)),
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


def _orphan_ages(scanned: Sequence[Scan], logs: Sequence[str]) -> list[float | None]:
    """Return the seconds since the last finished pass of each relation and child database began.

    None if no pass has finished.
    """
    ages = {(row.relation, row.database): clocks.age_of(row) for row in scanned}
    return [
        ages.get((relation.label, database))
        for relation in relations.catalogue().relations
        for database in relation.child_databases
        if relation.parent_databases[0] in logs and relation.policy.cascades
    ]


def _cards(databases: Sequence[str], logs: Mapping[str, SmallTables]) -> tuple[Card, ...]:
    """Return the card of each child database. A few bounded statements for each log."""
    undispatched, most = _recorded([*logs]), limits.COUNT_MAX + 1
    known = [row for small in logs.values() for row in small.children]
    kept = sum((kept_in(using, most) for using in logs), Counter())
    speeds = throughput_of([*logs], databases)
    cascades = [Cascade.objects.using(using) for using in logs]
    unfinished = [rows.filter(Cascade.IN_BACKLOG).order_by("recorded_at") for rows in cascades]
    open_ = [
        figures_of_open(first_rows(rows, databases, most, "state", "size", "recorded_at", "reason"))
        for rows in unfinished
    ]
    unverified = [
        rows.filter(state=Cascade.State.DONE).order_by("due_at", "pk") for rows in cascades
    ]
    done = [
        done_in(first_rows(rows, databases, most, "size", "recorded_at", "done_at"))
        for rows in unverified
    ]
    return tuple(
        _card(
            alias,
            [log.get(alias, NOTHING_OPEN) for log in open_],
            [log[alias] for log in done if alias in log],
            [group for group in undispatched if alias in group.databases],
            [row for row in known if row.alias == alias],
            kept[alias],
            speeds[alias],
        )
        for alias in databases
    )


def _card(
    alias: str,
    sums: Sequence[Mapping[str, Any]],
    done: Sequence[Group],
    waiting: Sequence[Recorded],
    known: Sequence[ChildDatabase],
    kept: int,
    speed: Throughput,
) -> Card:
    """Return the card of a child database, by its figures in each log. Pure."""
    hindrances = {state: reason for row in known for state, reason in hindrances_of(row)}
    backlog = sum(figures["backlog"] for figures in sums)
    backlog += sum(group.number for group in waiting)
    blocked = sum(figures["blocked"] for figures in sums)
    pace = speed_of(alias, known)
    going_on = backlog - blocked - sum(figures["tried"] for figures in sums)
    can_tell = backlog <= limits.COUNT_MAX and speed.rate and pace.share and not hindrances
    reason = "; ".join(hindrances.values())
    ages = [*(figures["age"] for figures in sums), *(group.oldest for group in waiting)]
    unproven = unproven_of(done, reason, held_of(known), awake_seconds(alias))
    return Card(
        database=alias,
        state=state_of(backlog, blocked, hindrances, overdue=unproven.overdue),
        reason=reason,
        paused="paused" in hindrances,
        paused_kind=kind_of_pause(known),
        unreachable="unreachable" in hindrances,
        backlog=min(backlog, limits.COUNT_MAX + 1),
        blocked=blocked,
        waiting_reason="" if hindrances else _first(figures["waits"] for figures in sums),
        blocked_reason=_first(figures["blocked_reason"] for figures in sums),
        unverified=unproven.number,
        unverified_seconds=unproven.waits_seconds,
        unverified_reason=unproven.reason,
        overdue=unproven.overdue,
        pace_reason=pace.reason,
        kept=kept,
        lag_seconds=oldest(ages),
        eta_seconds=going_on / speed.rate if going_on and can_tell else None,
        throughput=speed,
    )


def _first(reasons: Iterable[str | None]) -> str:
    return next(filter(None, reasons), "")
