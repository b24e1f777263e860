"""The figures of the first page, read in a bounded number of bounded queries."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import relations
from ..backends import clocks
from ..control import circuit_breaker
from ..models import Cascade, ChildDatabase, Deletion, Scan
from . import heartbeats, limits
from .backlog import hindrances_of, kept_in, kind_of_pause, open_cascades, state_of
from .brakes import brakes, suspected_keys
from .heartbeats import HeartbeatRow, heartbeats_in
from .names import Unknown, unknown_in
from .pressure import awake_seconds, child_databases, speed_of
from .throughput import Throughput, throughput_of
from .unproven import done_cascades, held_of, oldest, unproven_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence


#: A backlog younger than this is work, not a delay.
BEHIND_SECONDS = 60


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
    suspects: int
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
    undispatched = _recorded(logs)
    children = {using: list(child_databases(using)) for using in logs}
    known = [row for rows in children.values() for row in rows]
    beats = [row for using in logs for row in heartbeats_in(using)]
    aged = {"age": clocks.age("covers_at")}
    scans = {using: list(Scan.objects.using(using).annotate(**aged)) for using in logs}
    scanned = [row for rows in scans.values() for row in rows]
    kept = sum((kept_in(using, limits.COUNT_MAX + 1) for using in logs), Counter())
    suspected = {using: suspected_keys(using, scans[using]) for using in logs}
    ages = _orphan_ages(scanned, logs)
    return Overview(
        cards=tuple(
            _card(
                alias, logs, undispatched, [row for row in known if row.alias == alias], kept[alias]
            )
            for alias in catalogue.child_databases
        ),
        workers=tuple(row for row in beats if row["name"] != "beat"),
        beat=next((row for row in beats if row["name"] == "beat"), None),
        suspects=sum(sum(counts.values()) for counts in suspected.values()),
        brakes={
            label: reason
            for using in logs
            for label, reason in brakes(
                using, suspected[using], scans[using], children[using]
            ).items()
        },
        orphan_age_seconds=None if None in ages else max(filter(None, ages), default=None),
        unscanned=ages.count(None),
        unreachable_logs=tuple(using for using in catalogue.log_databases if using not in logs),
        unknown=tuple(
            entry for using in logs for entry in unknown_in(using, scans[using], children[using])
        ),
    )


@dataclass(slots=True)
class Recorded:
    """Deletions of one parent, along one relation, that have no cascades yet."""

    databases: tuple[str, ...]
    number: int
    oldest: dt.timedelta


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


def _card(
    alias: str,
    logs: Sequence[str],
    undispatched: Sequence[Recorded],
    known: Sequence[ChildDatabase],
    kept: int,
) -> Card:
    hindrances = {state: reason for row in known for state, reason in hindrances_of(row)}
    cascades = [Cascade.objects.using(using).filter(database=alias) for using in logs]
    waiting = [group for group in undispatched if alias in group.databases]
    sums = [open_cascades(rows.order_by("recorded_at"), limits.COUNT_MAX + 1) for rows in cascades]
    backlog = sum(figures["backlog"] for figures in sums)
    backlog += sum(group.number for group in waiting)
    blocked = sum(figures["blocked"] for figures in sums)
    speed = throughput_of(cascades)
    pace = speed_of(alias, known)
    can_tell = backlog <= limits.COUNT_MAX and speed.rate and pace.share and not hindrances
    done = [done_cascades(rows, limits.COUNT_MAX + 1) for rows in cascades]
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
        blocked_reason=_first(figures["reason"] for figures in sums),
        unverified=unproven.number,
        unverified_seconds=unproven.waits_seconds,
        unverified_reason=unproven.reason,
        overdue=unproven.overdue,
        pace_reason=pace.reason,
        kept=kept,
        lag_seconds=oldest(ages),
        eta_seconds=backlog / speed.rate if backlog and can_tell else None,
        throughput=speed,
    )


def _first(reasons: Iterable[str | None]) -> str:
    return next(filter(None, reasons), "")
