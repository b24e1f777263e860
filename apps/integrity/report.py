"""Read-only figures: the only source for the command line, the pages and the metrics."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING, Any, TypedDict

from django.db import Error, OperationalError, router
from django.db.models import Count, Min, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from . import brake, claims, control, log, relations, suspects
from .exceptions import DatabaseUnreachable
from .models import Cascade, ChildDatabase, Deletion, Heartbeat, Scan
from .plan import plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .plan import Node
    from .relations import ForeignKey, Model, Relation

#: The window over which the rate of finished cascades is measured.
RATE_SECONDS = 300


class RelationRow(TypedDict):
    """One relation in one child database."""

    relation: str
    child_database: str
    parent: str
    parent_database: str
    policy: str
    indexed: bool
    plan: str
    why: str
    last_full_scan: str | None


class Effect(TypedDict):
    """What a deletion does along one key."""

    relation: str
    database: str
    policy: str
    rows: int


class DatabaseRow(TypedDict):
    """How far one child database is behind."""

    database: str
    state: str
    reason: str
    unreachable: bool
    backlog: int
    blocked: int
    lag_seconds: float | None
    rate: float
    eta_seconds: float | None


class ScanRow(TypedDict):
    """How far the scan of one relation in one child database is, and what it guarantees.

    `coverage` is the share of the pass under way; every orphan that existed at `covers_at` was seen
    by `last_full_scan`. `throttle` is the number of keys of the next step. `waiting` counts the
    suspects of the relation that wait for a second look, whatever database they were seen in;
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


class Receipt(TypedDict):
    """Proof for one deletion: what was removed where, when, how many rows."""

    deletion: dict[str, Any]
    cascades: list[dict[str, Any]]


class Pulse(TypedDict):
    """When a process was last seen."""

    name: str
    seconds_ago: float


class Status(TypedDict):
    """The whole picture."""

    databases: list[DatabaseRow]
    deletions: dict[str, int]
    unreachable_logs: list[str]
    scans: list[ScanRow]
    workers: list[Pulse]
    beat: Pulse | None


def catalogue() -> list[RelationRow]:
    """The relations, a row for each child database. No queries."""
    return [
        _relation(relation, database)
        for relation in relations.catalogue().relations
        for database in relation.child_databases
    ]


def _relation(relation: Relation, database: str) -> RelationRow:
    way = plan(relation) if relation.policy.cascades else None
    return {
        "relation": relation.label,
        "child_database": database,
        "parent": relation.parent._meta.label,
        "parent_database": ", ".join(relation.parent_databases),
        "policy": str(relation.policy),
        "indexed": relation.indexed,
        "plan": str(way.way) if way else "",
        "why": way.reason if way else "",
        "last_full_scan": None,
    }


def repairs(chosen: Sequence[Relation]) -> tuple[list[Effect], dict[str, str]]:
    """What repairing the suspects of those relations would touch, and what could not be asked.

    The latter by relation, with the reason.
    """
    effects: list[Effect] = []
    unreachable: dict[str, str] = {}
    for relation in chosen:
        try:
            effects += _repairs(relation)
        except (DatabaseUnreachable, OperationalError) as error:
            unreachable[relation.label] = str(error)
    return effects, unreachable


def _repairs(relation: Relation) -> list[Effect]:
    rows = Counter[tuple[str, str, str]]()
    for alias in (*relation.parent_databases, *relation.child_databases):
        control.reach(alias)
    for batch in log.suspects(relation, older_than_seconds=0, using=relation.parent_databases[0]):
        look = suspects.look(relation, batch)
        missing = list({look.keys[pk] for pk in look.missing})
        for alias in relation.child_databases if missing else ():
            for each in _effects(relation, alias, missing, {}):
                rows[each["relation"], each["database"], each["policy"]] += each["rows"]
    return [
        {"relation": label, "database": alias, "policy": policy, "rows": number}
        for (label, alias, policy), number in rows.items()
        if number
    ]


def preview(model: str, key: str) -> list[Effect]:
    """What deleting that parent would touch in the child databases, row by row counted once.

    Raises `UnknownName` for a model that no relation points to, `InvalidKey` for a key that its
    field cannot hold.
    """
    parent = relations.catalogue().parent(model)
    pk = relations.parse_key(relations.primary_key(parent), key)
    effects: list[Effect] = []
    seen: dict[tuple[Model, str], Q] = {}
    for relation in relations.catalogue().relations:
        if relation.parent is not parent or (value := _target_value(relation, pk)) is None:
            continue
        for database in relation.child_databases:
            effects += _effects(relation, database, [value], seen)
    return effects


def _target_value(relation: Relation, pk: Any) -> Any:
    target = relation.target
    if target.primary_key:
        return pk
    home = router.db_for_write(relation.parent)
    row: QuerySet[Any] = QuerySet(model=relation.parent, using=home).filter(pk=pk)
    return row.values_list(target.attname, flat=True).first()


def _effects(
    relation: Relation, database: str, values: list[Any], seen: dict[tuple[Model, str], Q]
) -> Iterator[Effect]:
    key, policy = relation.field, relation.policy
    yield _effect(key, str(policy), Q(**{f"{key.attname}__in": values}), database, seen)
    if policy is relations.Policy.CASCADE:
        for node, path in _below(plan(relation).root, key.attname):
            below = relations.Policy.of(relations.declared_on_delete(node.field))
            yield _effect(node.field, str(below), Q(**{f"{path}__in": values}), database, seen)


def _below(node: Node, path: str) -> Iterator[tuple[Node, str]]:
    for sub in node.below:
        inner = f"{sub.field.name}__{path}"
        yield sub, inner
        yield from _below(sub, inner)


def _effect(
    key: ForeignKey, policy: str, rows: Q, database: str, seen: dict[tuple[Model, str], Q]
) -> Effect:
    """Rows that refer through `key`, but for those that an earlier effect counted."""
    model = key.model
    counted = seen.get((model, database))
    found: QuerySet[Any] = QuerySet(model=model, using=database).filter(rows)
    number = (found.exclude(counted) if counted else found).count()
    seen[model, database] = counted | rows if counted else rows
    return {
        "relation": relations.label(key),
        "database": database,
        "policy": policy,
        "rows": number,
    }


def status() -> Status:
    """Backlog, lag and signs of life, summed over the logs that answer.

    Raises `DatabaseUnreachable` where none does.
    """
    found, logs = relations.catalogue(), control.answering_logs()
    beats = [pulse for using in logs for pulse in _pulses(using)]
    return {
        "databases": [_database(alias, logs) for alias in found.child_databases],
        "deletions": _deletions(logs),
        "unreachable_logs": [using for using in found.log_databases if using not in logs],
        "scans": scans(),
        "workers": [pulse for pulse in beats if pulse["name"] != "beat"],
        "beat": next((pulse for pulse in beats if pulse["name"] == "beat"), None),
    }


def scans() -> list[ScanRow]:
    """The scan of each relation in each child database, begun or not, in the logs that answer."""
    return [row for using in control.answering_logs() for row in _scans(using)]


def _scans(using: str) -> Iterator[ScanRow]:
    rows = {(row.relation, row.database): row for row in Scan.objects.using(using)}
    waiting = log.suspects_by_relation(using=using)
    for relation in relations.catalogue().relations:
        if relation.parent_databases[0] != using:
            continue
        number = waiting.get(relation.label, 0)
        refusal = _refusal(relation, number) if number else ""
        for database in relation.child_databases:
            row = rows.get((relation.label, database)) or Scan()
            yield _progress(row, relation.label, database, number, refusal)


def _refusal(relation: Relation, waiting: int) -> str:
    try:
        return brake.refusal(relation, waiting)
    except Error as error:
        return f"the parents cannot be asked: {claims.reason_of(error)}"


def _progress(row: Scan, relation: str, database: str, waiting: int, refusal: str) -> ScanRow:
    under_way = row.began_at is not None
    coverage: float | None = 1.0 if row.finished_at else 0.0
    eta = None
    if row.began_at is not None:
        coverage = min(row.rows / row.expected, 1.0) if row.expected else None
        if coverage:
            eta = _age(row.began_at) * (1 / coverage - 1)
    return {
        "relation": relation,
        "database": database,
        "coverage": coverage,
        "eta_seconds": eta,
        "last_full_scan": _iso(row.finished_at),
        "covers_at": _iso(row.covers_at),
        "age_seconds": _age(row.covers_at) if row.covers_at else None,
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
    counts: Counter[str] = Counter(dict.fromkeys(Deletion.State.values, 0))
    for using in logs:
        rows = Deletion.objects.using(using).values_list("state").annotate(Count("pk"))
        counts.update(dict(rows))
    return dict(counts)


def _database(alias: str, logs: Sequence[str]) -> DatabaseRow:
    backlog = blocked = recently = 0
    oldest: list[dt.datetime] = []
    hindrances: dict[str, str] = {}
    for using in logs:
        cascades = Cascade.objects.using(using).filter(database=alias)
        for found in (_open(cascades), _undispatched(alias, using)):
            backlog += found["backlog"]
            blocked += found["blocked"]
            oldest += [found["oldest"]] if found["oldest"] else []
        since = Now() - dt.timedelta(seconds=RATE_SECONDS)
        recently += cascades.filter(done_at__gte=since).count()
        hindrances.update(_hindrances(alias, using))
    rate = recently / RATE_SECONDS
    return {
        "database": alias,
        "state": _state(backlog, blocked, hindrances),
        "reason": "; ".join(hindrances.values()),
        "unreachable": "unreachable" in hindrances,
        "backlog": backlog,
        "blocked": blocked,
        "lag_seconds": _age(min(oldest)) if oldest else None,
        "rate": rate,
        "eta_seconds": backlog / rate if backlog and rate and not hindrances else None,
    }


def unproven(databases: Sequence[str]) -> int:
    """Cascades into those databases that are done and not verified yet."""
    return sum(
        Cascade.objects.using(using)
        .filter(database__in=databases, state=Cascade.State.DONE)
        .count()
        for using in control.answering_logs()
    )


def _open(cascades: QuerySet[Cascade]) -> dict[str, Any]:
    return cascades.filter(state__in=Cascade.OPEN).aggregate(
        backlog=Count("pk"),
        blocked=Count("pk", filter=Q(state=Cascade.State.BLOCKED)),
        oldest=Min("recorded_at"),
    )


def _undispatched(alias: str, using: str) -> dict[str, Any]:
    """Recorded deletions that will fan out to `alias`: they are behind, too."""
    found = relations.catalogue()
    parents = [label for label in found.parents if alias in found.databases_of(label)]
    recorded = Deletion.objects.using(using).filter(
        state=Deletion.State.RECORDED, parent__in=parents
    )
    counts = recorded.aggregate(backlog=Count("pk"), oldest=Min("recorded_at"))
    return {**counts, "blocked": 0}


def _hindrances(alias: str, using: str) -> Iterator[tuple[str, str]]:
    """State and reason of whatever keeps a log from working on a child database."""
    for row in ChildDatabase.objects.using(using).filter(alias=alias):
        if row.paused_at is not None:
            yield "paused", f"paused: {row.paused_reason or 'no reason given'}"
        if row.unreachable_since is not None:
            yield "unreachable", f"cannot be reached: {row.reason}"


def _state(backlog: int, blocked: int, hindrances: dict[str, str]) -> str:
    if hindrances:
        return "waiting"
    if blocked:
        return "blocked"
    return "working" if backlog else "idle"


def _age(moment: dt.datetime) -> float:
    return max(0.0, (timezone.now() - moment).total_seconds())


def _pulses(using: str) -> Iterator[Pulse]:
    for row in Heartbeat.objects.using(using).order_by("name"):
        yield {"name": row.name, "seconds_ago": _age(row.seen_at)}


def receipts(model: str, key: str) -> list[Receipt]:
    """What is known of that parent's deletions, the newest first.

    `key` is its primary key, or "field=value" for what a scan found by a `to_field`. Raises
    `UnknownName` for a model that no relation points to, `InvalidKey` for a key that its field
    cannot hold.
    """
    parent = relations.catalogue().parent(model)
    found = [
        deletion
        for using in relations.databases_for(parent)
        for deletion in Deletion.objects.using(using)
        .filter(_of(parent, key), parent=parent._meta.label)
        .prefetch_related("cascades")
    ]
    found.sort(key=lambda each: each.recorded_at, reverse=True)
    return [_receipt(deletion) for deletion in found]


def _of(parent: Model, key: str) -> Q:
    """The deletions of the parent that `key` names, as for `receipts`."""
    name, equals, value = key.partition("=")
    for field in relations.targets(parent):
        if equals and field.name == name:
            text = relations.format_key(field, relations.parse_key(field, value))
            return Q(**{f"targets__{name}": text})
    pk = relations.primary_key(parent)
    return Q(key=relations.format_key(pk, relations.parse_key(pk, key)))


def _receipt(deletion: Deletion) -> Receipt:
    return {
        "deletion": {
            "id": deletion.pk,
            "parent": deletion.parent,
            "key": deletion.key,
            "targets": deletion.targets or {},
            "relation": deletion.relation,
            "source": deletion.source,
            "state": deletion.state,
            "reason": deletion.reason,
            "recorded_at": _iso(deletion.recorded_at),
            "cascaded_at": _iso(deletion.cascaded_at),
            "verified_at": _iso(deletion.verified_at),
        },
        "cascades": [
            {
                "database": cascade.database,
                "state": cascade.state,
                "reason": cascade.reason,
                "attempts": cascade.attempts,
                "rows": cascade.rows or {},
                "rows_exact": cascade.attempts <= 1,
                "done_at": _iso(cascade.done_at),
                "verified_at": _iso(cascade.verified_at),
            }
            for cascade in sorted(deletion.cascades.all(), key=lambda each: each.database)
        ],
    }


def _iso(moment: dt.datetime | None) -> str | None:
    return moment.isoformat() if moment else None
