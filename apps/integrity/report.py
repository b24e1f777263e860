"""Read-only figures: the only source for the command line, the pages and the metrics."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from django.db import Error, OperationalError, router
from django.db.models import Count, Max, Min, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from . import brake, claims, conf, control, log, relations, suspects
from .exceptions import DatabaseUnreachable, InvalidKey
from .models import Audit, Cascade, ChildDatabase, Deletion, Heartbeat, Scan
from .plan import plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .plan import Node
    from .relations import ForeignKey, Model, Relation

#: The window over which the rate of finished cascades is measured.
RATE_SECONDS = 300
#: Where pages stop counting: a number above it means "more than that".
COUNT_MAX = 10_000
#: Rows of one page of a list.
PAGE_ROWS = 50
#: Missing keys that are shown of each relation.
SUSPECTS_SHOWN = 20
#: Ids that a page of a list looks through where no index answers.
PAGE_IDS = 100_000
#: What a picture of the throughput covers, and its bars.
DAY_SECONDS, BARS = 86_400, 24
#: Beat tends the log each minute; after this it counts as silent.
BEAT_SILENT_SECONDS = 180
#: With work to do, some worker is seen more often than this.
WORKER_SILENT_SECONDS = 60
#: A backlog younger than this is work, not a delay.
BEHIND_SECONDS = 60


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


def repairs(
    chosen: Sequence[Relation], *, suspects_max: int | None = None
) -> tuple[list[Effect], dict[str, str]]:
    """What repairing the suspects of those relations would touch, and what could not be asked.

    The latter by relation, with the reason. With `suspects_max`, the first suspects of a relation
    stand for all of them (in whole batches).
    """
    effects: list[Effect] = []
    unreachable: dict[str, str] = {}
    for relation in chosen:
        try:
            effects += _repairs(relation, suspects_max)
        except (DatabaseUnreachable, OperationalError) as error:
            unreachable[relation.label] = str(error)
    return effects, unreachable


def _repairs(relation: Relation, suspects_max: int | None) -> list[Effect]:
    rows, looked_at = Counter[tuple[str, str, str]](), 0
    for alias in (*relation.parent_databases, *relation.child_databases):
        control.reach(alias)
    for batch in log.suspects(relation, older_than_seconds=0, using=relation.parent_databases[0]):
        look = suspects.look(relation, batch)
        missing = list({look.keys[pk] for pk in look.missing})
        for alias in relation.child_databases if missing else ():
            for each in _effects(relation, alias, missing, {}):
                rows[each["relation"], each["database"], each["policy"]] += each["rows"]
        looked_at += len(batch)
        if suspects_max is not None and looked_at >= suspects_max:
            break
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
    relation: Relation,
    database: str,
    values: list[Any],
    seen: dict[tuple[Model, str], Q],
    most: int | None = None,
) -> Iterator[Effect]:
    key, policy = relation.field, relation.policy
    yield _effect(key, str(policy), Q(**{f"{key.attname}__in": values}), database, seen, most)
    if policy is relations.Policy.CASCADE:
        for node, path in _below(plan(relation).root, key.attname):
            below = relations.Policy.of(relations.declared_on_delete(node.field))
            rows = Q(**{f"{path}__in": values})
            yield _effect(node.field, str(below), rows, database, seen, most)


def _below(node: Node, path: str) -> Iterator[tuple[Node, str]]:
    for sub in node.below:
        inner = f"{sub.field.name}__{path}"
        yield sub, inner
        yield from _below(sub, inner)


def _effect(
    key: ForeignKey,
    policy: str,
    rows: Q,
    database: str,
    seen: dict[tuple[Model, str], Q],
    most: int | None,
) -> Effect:
    """Rows that refer through `key` and that no earlier effect counted, `most` at most."""
    model = key.model
    counted = seen.get((model, database))
    found: QuerySet[Any] = QuerySet(model=model, using=database).filter(rows)
    number = (found.exclude(counted) if counted else found).order_by()[:most].count()
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


def _open(cascades: QuerySet[Cascade], most: int | None = None) -> dict[str, Any]:
    return cascades.filter(state__in=Cascade.OPEN)[:most].aggregate(
        backlog=Count("pk"),
        blocked=Count("pk", filter=Q(state=Cascade.State.BLOCKED)),
        oldest=Min("recorded_at"),
        reason=Min("reason", filter=Q(state=Cascade.State.BLOCKED)),
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
        yield from _hindrances_of(row)


def _hindrances_of(row: ChildDatabase) -> Iterator[tuple[str, str]]:
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


# Pages. Counts stop at COUNT_MAX + 1, so that no log is too large to look at.


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Cascades finished lately: `rate` per second, and bars of equal length up to now.

    The bars cover `seconds`: a day, or less where more than COUNT_MAX were finished in a day.
    """

    rate: float
    bars: tuple[int, ...]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What someone on call wants to know of one child database."""

    database: str
    state: str
    reason: str
    paused: bool
    unreachable: bool
    backlog: int
    blocked: int
    blocked_reason: str
    unverified: int
    lag_seconds: float | None
    eta_seconds: float | None
    throughput: Throughput


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Everything that the first page shows."""

    at: dt.datetime
    cards: tuple[Card, ...]
    workers: tuple[Pulse, ...]
    beat: Pulse | None
    suspects: int
    brakes: dict[str, str]
    #: The age of the oldest orphan that no finished scan has looked for; None: not all was scanned.
    orphan_age_seconds: float | None
    unscanned: int
    unreachable_logs: tuple[str, ...]

    @property
    def beat_is_silent(self) -> bool:
        """Whether nobody has tended the logs for too long."""
        return self.beat is None or self.beat["seconds_ago"] > BEAT_SILENT_SECONDS

    @property
    def workers_are_silent(self) -> bool:
        """Whether there is work that no worker has looked at for too long."""
        ages = [each["seconds_ago"] for each in self.workers]
        waiting = any(card.backlog > card.blocked for card in self.cards if not card.reason)
        return waiting and min(ages, default=float("inf")) > WORKER_SILENT_SECONDS


def overview() -> Overview:
    """The state of every child database, in a bounded number of bounded queries.

    Raises `DatabaseUnreachable` where no log answers.
    """
    found, logs = relations.catalogue(), control.answering_logs()
    undispatched = [each for using in logs for each in _recorded(using)]
    hindrances = [
        (row.alias, *each)
        for using in logs
        for row in ChildDatabase.objects.using(using)
        for each in _hindrances_of(row)
    ]
    beats = [pulse for using in logs for pulse in _pulses(using)]
    scanned = [row for using in logs for row in Scan.objects.using(using)]
    suspected = Counter(label for using in logs for label in _suspected(using))
    ages = _orphan_ages(scanned, logs)
    return Overview(
        at=timezone.now(),
        cards=tuple(
            _card(alias, logs, undispatched, {s: r for a, s, r in hindrances if a == alias})
            for alias in found.child_databases
        ),
        workers=tuple(each for each in beats if each["name"] != "beat"),
        beat=next((each for each in beats if each["name"] == "beat"), None),
        suspects=suspected.total(),
        brakes=_brakes(scanned, suspected),
        orphan_age_seconds=None if None in ages else max(filter(None, ages), default=None),
        unscanned=ages.count(None),
        unreachable_logs=tuple(using for using in found.log_databases if using not in logs),
    )


def _recorded(using: str) -> list[tuple[str, dt.datetime]]:
    """Parent and time of deletions that have no cascades yet, the oldest first."""
    rows = Deletion.objects.using(using).filter(state=Deletion.State.RECORDED).order_by("pk")
    return list(rows.values_list("parent", "recorded_at")[: COUNT_MAX + 1])


def _suspected(using: str) -> list[str]:
    rows = Deletion.objects.using(using).filter(state=Deletion.State.SUSPECT)
    return list(rows.order_by("relation").values_list("relation", flat=True)[: COUNT_MAX + 1])


def _orphan_ages(scanned: Sequence[Scan], logs: Sequence[str]) -> list[float | None]:
    """For each relation and child database: how long ago the last finished pass began."""
    covers = {(row.relation, row.database): row.covers_at for row in scanned}
    moments = [
        covers.get((relation.label, database))
        for relation in relations.catalogue().relations
        for database in relation.child_databases
        if relation.parent_databases[0] in logs and relation.policy.cascades
    ]
    return [_age(moment) if moment else None for moment in moments]


def _brakes(scanned: Sequence[Scan], suspected: Counter[str]) -> dict[str, str]:
    """Relation → why the figures of its scans are absurd. No queries: scans() asks for more."""
    found = {}
    for label, waiting in suspected.items():
        rows = [row for row in scanned if row.relation == label]
        now = brake.Sight(keys=sum(r.keys for r in rows), missing=sum(r.missing for r in rows))
        last = brake.Sight(
            keys=sum(r.last_keys for r in rows), missing=sum(r.last_missing for r in rows)
        )
        whole = brake.Sight(keys=max(now.keys, last.keys), missing=waiting)
        reasons = (brake.absurdity(each, conf.current()) for each in (now, last, whole))
        if reason := next(filter(None, reasons), ""):
            found[label] = reason
    return found


def _card(
    alias: str,
    logs: Sequence[str],
    undispatched: Sequence[tuple[str, dt.datetime]],
    hindrances: dict[str, str],
) -> Card:
    cascades = [Cascade.objects.using(using).filter(database=alias) for using in logs]
    databases_of = relations.catalogue().databases_of
    waiting = [moment for parent, moment in undispatched if alias in databases_of(parent)]
    sums = [_open(each.order_by("recorded_at"), COUNT_MAX + 1) for each in cascades]
    backlog = sum(each["backlog"] for each in sums) + len(waiting)
    blocked = sum(each["blocked"] for each in sums)
    oldest = [each["oldest"] for each in sums if each["oldest"]] + waiting[:1]
    moments = [moment for each in cascades for moment in _finished(each)]
    speed = throughput(moments, timezone.now())
    known = backlog <= COUNT_MAX and speed.rate and not hindrances
    return Card(
        database=alias,
        state=_state(backlog, blocked, hindrances),
        reason="; ".join(hindrances.values()),
        paused="paused" in hindrances,
        unreachable="unreachable" in hindrances,
        backlog=min(backlog, COUNT_MAX + 1),
        blocked=blocked,
        blocked_reason=next((each["reason"] for each in sums if each["reason"]), ""),
        unverified=sum(_capped(each.filter(state=Cascade.State.DONE)) for each in cascades),
        lag_seconds=_age(min(oldest)) if oldest else None,
        eta_seconds=backlog / speed.rate if backlog and known else None,
        throughput=speed,
    )


def _finished(cascades: QuerySet[Cascade]) -> list[dt.datetime]:
    since = Now() - dt.timedelta(seconds=DAY_SECONDS)
    rows = cascades.filter(done_at__gte=since).order_by("-done_at")
    moments = rows.values_list("done_at", flat=True)[: COUNT_MAX + 1]
    return [moment for moment in moments if moment is not None]


def throughput(moments: Sequence[dt.datetime], now: dt.datetime) -> Throughput:
    """The speed by when cascades were finished, the latest COUNT_MAX of them at most. Pure."""
    ages = sorted(max((now - moment).total_seconds(), 0.0) for moment in moments)[:COUNT_MAX]
    all_of_them = len(moments) <= COUNT_MAX
    window = RATE_SECONDS if all_of_them else min(RATE_SECONDS, max(ages[-1], 1.0))
    seconds = DAY_SECONDS if all_of_them else max(ages[-1], 1.0)
    bars = [0] * BARS
    for age in ages:
        bars[BARS - 1 - min(int(age / seconds * BARS), BARS - 1)] += 1
    lately = sum(1 for age in ages if age <= window)
    return Throughput(rate=lately / window, bars=tuple(bars), seconds=seconds)


def _capped(rows: QuerySet[Any]) -> int:
    """The number of rows; COUNT_MAX + 1 stands for all that is more."""
    return rows.order_by()[: COUNT_MAX + 1].count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Rows of a list, the newest first; `older` is where the next page begins, or None."""

    rows: list[Any]
    older: int | None


def deletions(
    *, using: str, model: str = "", key: str = "", state: str = "", before: int | None = None
) -> Page:
    """Deletions of one log, by parent, key and state ("blocked" looks at the cascades).

    Raises `UnknownName` for an unknown parent model, `InvalidKey` for a key that none could have.
    """
    rows = Deletion.objects.using(using).order_by("-pk").prefetch_related("cascades")
    if model:
        rows = rows.filter(parent=relations.catalogue().parent(model)._meta.label)
    if key:
        rows = rows.filter(_named(model, key))
    if state == Cascade.State.BLOCKED:
        blocked = Cascade.objects.using(using).filter(state=state)
        rows = rows.filter(pk__in=blocked.values("deletion"))
    elif state:
        rows = rows.filter(state=state)
    if before is not None:
        rows = rows.filter(pk__lt=before)
    if key or state in {*Deletion.OPEN, Cascade.State.BLOCKED}:
        return _page(rows)
    top = before
    if top is None:
        top = (Deletion.objects.using(using).aggregate(top=Max("pk"))["top"] or 0) + 1
    floor = top - PAGE_IDS
    page = _page(rows.filter(pk__gte=floor))
    return page if page.older or floor <= 1 else Page(rows=page.rows, older=floor)


def _named(model: str, text: str) -> Q:
    """Deletions of that key, of one parent model or of any that could have it."""
    known = relations.catalogue().parents
    found = Q()
    for label in [relations.catalogue().parent(model)._meta.label] if model else known:
        pk = relations.primary_key(known[label])
        try:
            key = relations.format_key(pk, relations.parse_key(pk, text))
        except InvalidKey:
            if model:
                raise
        else:
            found |= Q(parent=label, key=key)
    if not found:
        raise InvalidKey(f"{text!r} is no key of any parent model")
    return found


def _page(rows: QuerySet[Any]) -> Page:
    found = list(rows[: PAGE_ROWS + 1])
    more = len(found) > PAGE_ROWS
    return Page(rows=found[:PAGE_ROWS], older=found[PAGE_ROWS - 1].pk if more else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One deletion along one relation in one child database; `rows` None: not begun."""

    relation: str
    policy: str
    rows: int | None
    cascade: Cascade


def deletion(pk: int, *, using: str) -> Deletion | None:
    """A row of the log, with its cascades."""
    rows = Deletion.objects.using(using).prefetch_related("cascades")
    return rows.filter(pk=pk).first()


def steps(of: Deletion) -> list[Step]:
    """What a deletion does: a row for each child database and relation."""
    declared = {each.label: each for each in relations.catalogue().children_of(of.parent)}
    found = []
    for cascade in sorted(of.cascades.all(), key=lambda each: each.database):
        here = [
            label for label, each in declared.items() if cascade.database in each.child_databases
        ]
        rows = cascade.rows or {}
        done = cascade.done_at is not None
        for label in dict.fromkeys([*here, *rows]):
            policy = str(declared[label].policy) if label in declared else ""
            number = rows.get(label, 0 if done else None)
            found.append(Step(relation=label, policy=policy, rows=number, cascade=cascade))
    return found


def receipt(of: Deletion) -> Receipt:
    """The proof for one deletion."""
    return _receipt(of)


def newest(parent: Model, keys: Sequence[Any], *, using: str) -> list[Deletion]:
    """The latest deletions of those parents, among as many rows as there are keys."""
    pk = relations.primary_key(parent)
    texts = [relations.format_key(pk, key) for key in keys]
    rows = Deletion.objects.using(using).filter(parent=parent._meta.label, key__in=texts)
    return list(rows.order_by("-pk")[: len(texts)])


def blocked(database: str, *, using: str) -> list[int]:
    """Ids of deletions that are blocked in that child database, COUNT_MAX at most."""
    rows = Cascade.objects.using(using).filter(database=database, state=Cascade.State.BLOCKED)
    return list(rows.order_by("recorded_at").values_list("deletion", flat=True)[:COUNT_MAX])


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A key without a parent, and since when that is known."""

    id: int
    key: str
    seen_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspects:
    """Keys without a parent that scans of one relation found; `first` are the oldest of them."""

    relation: str
    policy: str
    parent: str
    using: str
    number: int
    oldest_seconds: float
    first: list[Suspect]


def suspected() -> list[Suspects]:
    """What waits for repair, by relation."""
    found = []
    for relation in relations.catalogue().relations:
        using = relation.parent_databases[0]
        rows = Deletion.objects.using(using).filter(
            state=Deletion.State.SUSPECT, relation=relation.label
        )
        first = [
            Suspect(id=row.pk, key=_key_of(row), seen_at=row.recorded_at)
            for row in rows.order_by("pk")[:SUSPECTS_SHOWN]
        ]
        if first:
            found.append(
                Suspects(
                    relation=relation.label,
                    policy=str(relation.policy),
                    parent=relation.parent._meta.label,
                    using=using,
                    number=_capped(rows),
                    oldest_seconds=_age(min(each.seen_at for each in first)),
                    first=first,
                )
            )
    return found


def _key_of(row: Deletion) -> str:
    """Its parent's key, or what is known in place of it."""
    named = (f"{name} {value}" for name, value in (row.targets or {}).items())
    return row.key if row.key is not None else ", ".join(named)


def audits(*, using: str, before: int | None = None) -> Page:
    """Who did what, the latest first."""
    rows = Audit.objects.using(using).order_by("-pk")
    return _page(rows.filter(pk__lt=before) if before is not None else rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """What deleting parents touches in one child database, or why that cannot be told."""

    database: str
    effects: list[Effect]
    unreachable: str = ""


def elsewhere(parent: Model, keys: Sequence[Any]) -> list[Elsewhere]:
    """What deleting those parents touches in other databases. Counts stop at COUNT_MAX + 1."""
    seen: dict[tuple[Model, str], Q] = {}
    aimed = [each for each in relations.catalogue().relations if each.parent is parent]
    found = []
    for database in dict.fromkeys(alias for each in aimed for alias in each.child_databases):
        effects: list[Effect] = []
        unreachable = ""
        try:
            control.reach(database)
            for relation in aimed:
                if database in relation.child_databases:
                    values = _target_values(relation, keys)
                    effects += _effects(relation, database, values, seen, COUNT_MAX + 1)
        except DatabaseUnreachable as error:
            unreachable = error.reason
        except Error as error:
            unreachable = claims.reason_of(error)
        found.append(Elsewhere(database=database, effects=effects, unreachable=unreachable))
    return found


def _target_values(relation: Relation, keys: Sequence[Any]) -> list[Any]:
    if relation.target.primary_key:
        return list(keys)
    home = router.db_for_write(relation.parent)
    rows: QuerySet[Any] = QuerySet(model=relation.parent, using=home).filter(pk__in=keys)
    values = rows.values_list(relation.target.attname, flat=True)
    return [value for value in values if value is not None]
