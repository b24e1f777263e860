"""The figures of the first page, read in a bounded number of bounded queries."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import relations
from ..backends import clocks
from ..backends.first_rows import first_rows
from ..conf.steps import without_steps
from ..control import circuit_breaker
from ..log import suspects
from ..models import Cascade, Deletion
from . import limits, probes
from .backlog import by_database, stuck_reasons, with_silences
from .brakes import brakes, scan_seconds, suspected_keys
from .deadlines import margins_of
from .fault import Fault, Figures
from .faults import faults_of
from .heartbeats import HeartbeatRow, heartbeats_in, ticks_of, workers_of
from .names import Unknown, unknown_in
from .rows import DatabaseRow, database_row
from .small_tables import SmallTables
from .throughput import Throughput, throughput_of
from .unproven import done_in
from .work import KEPT_ROWS, READ, RECORDED, Group, open_groups

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from django.db.models import QuerySet

    from ..models import Scan


class Card(DatabaseRow):
    """What someone on call wants to know of one child database, counted up to a bound."""

    throughput: Throughput


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
    #: What is wrong, the worst first.
    faults: tuple[Fault, ...] = ()


def collect_overview() -> Overview:
    """Return the figures of the first page, read in a bounded number of bounded queries.

    Raises `DatabaseUnreachable` if no log answers.
    """
    catalogue, logs = relations.catalogue(), circuit_breaker.answering_logs()
    small = {using: SmallTables(using) for using in logs}
    processes = [row for using in logs for row in heartbeats_in(using)]
    scanned = [row for tables in small.values() for row in tables.scans]
    suspected = {using: suspected_keys(using, small[using].scans) for using in logs}
    ages = _orphan_ages(scanned, logs)
    cards = _cards(catalogue.places, small)
    answering = without_steps(card["database"] for card in cards if not card["unreachable"])
    probed = probes.current(answering)
    with_silences(cards, probed.databases)
    figures = Figures(
        databases=cards,
        processes=processes,
        unreachable_logs=[using for using in catalogue.log_databases if using not in logs],
        unknown=[entry for using in logs for entry in unknown_in(using, small[using])],
        brakes={
            label: reason
            for using in logs
            for label, reason in brakes(using, suspected[using], small[using]).items()
        },
        scan_seconds=scan_seconds(scanned),
        missing_parents=sum(map(missing_parents, suspected, suspected.values())),
        celery=probed.celery,
        broker=probed.broker,
        broker_seconds=probed.broker_seconds,
    )
    return Overview(
        cards=tuple(cards),
        workers=tuple(workers_of(processes)),
        beat=ticks_of(processes),
        missing_parents=figures.missing_parents,
        brakes=dict(figures.brakes),
        orphan_age_seconds=None if None in ages else max(filter(None, ages), default=None),
        unscanned=ages.count(None),
        unreachable_logs=tuple(figures.unreachable_logs),
        unknown=tuple(figures.unknown),
        faults=faults_of(figures),
    )


def missing_parents(using: str, suspected: Mapping[str, int]) -> int:
    """Return how many parents a log suspects to be missing; where counting stopped, at least so."""
    number = sum(suspected.values())
    return suspects.missing_parents(using=using) if 0 < number <= limits.COUNT_MAX else number


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


def _cards(databases: Sequence[str], logs: Mapping[str, SmallTables]) -> list[Card]:
    """Return the card of each child database. A few bounded statements for each log."""
    known = [row for small in logs.values() for row in small.children]
    groups = by_database(group for using in logs for group in _groups(using, databases))
    why = stuck_reasons(logs, groups.values(), lambda using: _open(using, databases))
    speeds = throughput_of([*logs], databases)
    margins, cards = margins_of(logs, databases), list[Card]()
    for alias in databases:
        row = database_row(
            alias,
            groups.get(alias, []),
            [row for row in known if row.alias == alias],
            reasons=why.get(alias),
            rate=speeds[alias].rate,
            margins=margins.get(alias),
        )
        if row["backlog"] > limits.COUNT_MAX:  # counting stopped
            row["backlog"], row["eta_seconds"] = limits.COUNT_MAX + 1, None
        cards.append({**row, "throughput": speeds[alias]})
    return cards


def _groups(using: str, databases: Sequence[str]) -> Iterator[Group]:
    """Yield the work of one log by child database: of each kind the oldest, up to a bound."""
    most = limits.COUNT_MAX + 1
    yield from _recorded(using)
    yield from (Group(*row) for row in open_groups(_open(using, databases)))
    rows = Cascade.objects.using(using).filter(state=Cascade.State.DONE).order_by("due_at", "pk")
    done = first_rows(rows, databases, most, "size", "recorded_at", "done_at")
    yield from done_in(done).values()
    for alias, number in kept_in(using, most).items():
        yield Group(KEPT_ROWS, alias, "", "", number, None)


def _open(using: str, databases: Sequence[str]) -> QuerySet[Cascade]:
    """Return the oldest cascades in the backlog of each child database."""
    rows = Cascade.objects.using(using).filter(Cascade.IN_BACKLOG).order_by("recorded_at")
    return first_rows(rows, databases, limits.COUNT_MAX + 1, *READ, "reason")


def _recorded(using: str) -> list[Group]:
    """Return the oldest deletions of a log that are not dispatched, grouped by their names."""
    groups: dict[tuple[str, str], Group] = {}
    rows = Deletion.objects.using(using).filter(Deletion.IS_RECORDED).order_by("pk")
    aged = rows.annotate(age=clocks.age("recorded_at"))
    names = aged.values_list("parent", "relation", "age")[: limits.COUNT_MAX + 1]
    for parent, relation, age in names:
        group = groups.get((parent, relation), Group(RECORDED, "", parent, relation, 0, age))
        oldest = max(group.age or age, age)
        groups[parent, relation] = group._replace(number=group.number + 1, age=oldest, due=oldest)
    return list(groups.values())


def kept_in(using: str, most: int | None = None) -> Counter[str]:
    """Return child database → deletions in `most` unacknowledged cascades that left rows alone.

    It is one statement, over an index that holds only these.
    """
    rows = Cascade.objects.using(using).filter(Cascade.UNACKNOWLEDGED).order_by("database")
    counts = Counter[str]()
    for database, size in rows.values_list("database", "size")[:most]:
        counts[database] += size
    return counts
