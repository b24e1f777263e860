"""Functions from an observation to a `Check`, with a remedy if the check fails. Pure."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from ...models import ChildDatabase
from ...report import heartbeats, remedies
from ...report.heartbeats import NEVER
from ...report.lengths import number_of, span
from ...report.sentences import sentence
from ...routing import CONTROL

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from ...backends.postgresql.triggers.installed import Fault
    from ...control.identity import Mismatch
    from ...report import fault
    from ...report.heartbeats import HeartbeatRow
    from ...report.names import Unknown
    from ...report.rows import DatabaseRow
    from ...report.scans import ScanRow

#: No relation is ignored.
NOTHING: Mapping[str, str] = MappingProxyType({})
#: A scan's guarantee is stale after this many scan periods.
STALE_PERIODS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The result of one check: its name (kind and subject), whether it passed, and details."""

    name: str
    ok: bool
    detail: str

    @property
    def kind(self) -> str:
        """Return the first word of the name: "tables" of "tables default"."""
        return self.name.partition(" ")[0]


def database(alias: str, hindered: str) -> Check:
    """Return whether a database answers and takes writes; `hindered` is a sentence on why not."""
    detail = "answers"
    if hindered:
        detail = f"{hindered}. Check the server, or DATABASES[{alias!r}]"
    return Check(name=f"database {alias}", ok=not hindered, detail=detail)


def connections(server: str, wanted: int, workers: int, most: int) -> Check:
    """Return what workers may want of a server. It is advice: other programs are not counted."""
    detail = f"{workers} workers open up to {wanted} of its {most} connections"
    if wanted > most:
        detail += (
            ". Run fewer workers, give each its own queues, lower child_connections_max, or raise"
            " max_connections"
        )
    return Check(name=f"connections {server}", ok=True, detail=detail)


def crossing(number: int, aliases: Collection[str], ignored: Mapping[str, str] = NOTHING) -> Check:
    """Return whether any key crosses databases, where there are several."""
    lost = not number and not ignored and len(aliases) > 1
    detail = f"keys between databases: {number}"
    if ignored:
        reasons = "; ".join(f"{label} ({reason})" for label, reason in ignored.items())
        detail += f", and ignored by the settings: {reasons}"
    if lost:
        detail = (
            f"no key crosses databases, though there are {', '.join(aliases)}: the routers return"
            " the same database for both ends. Let db_for_write return each model's own database,"
            " or set DATABASE_ROUTING_RULES for AppLabelRouter"
        )
    return Check(name="relations", ok=not lost, detail=detail)


def step(place: str, along: Collection[str]) -> Check:
    """Return whether an erasure step covers rows along some relation."""
    detail = f"covers rows along {', '.join(sorted(along))}"
    if not along:
        detail = "covers no row that a cascade removes: look at what its covers() returns"
    return Check(name=f"step {place}", ok=bool(along), detail=detail)


def tables(alias: str, missing: Collection[str]) -> Check:
    """Return whether a database has the tables of this app that it needs."""
    detail = "exist"
    if missing:
        detail = f"missing: {', '.join(missing)}. Run `manage.py migrate --database {alias}`"
    return Check(name=f"tables {alias}", ok=not missing, detail=detail)


def readable(model: str, alias: str, error: str, hidden: str = "") -> Check:
    """Return whether all rows of one end of a relation can be read."""
    detail = f"not all can be read: {hidden}" if hidden else "can be read"
    if error:
        detail = (
            f"cannot be read: {error}. Run `manage.py migrate --database {alias}`, or look at the"
            " privileges (`manage.py integrity grants`)"
        )
    return Check(name=f"rows {model} in {alias}", ok=not (error or hidden), detail=detail)


def migration(alias: str, denied: Collection[str]) -> Check:
    """Return whether the routers allow the tables of this app in a database."""
    detail = "allows the tables"
    if denied:
        detail = (
            f"allow_migrate keeps {', '.join(sorted(denied))} out. Let it return"
            " `integrity.relations.holds(db, model_name)` for the app label 'integrity'"
        )
    return Check(name=f"router {alias}", ok=not denied, detail=detail)


def route(relation: str, *, child: str, homes: Sequence[str], reads: str, allowed: bool) -> Check:
    """Return whether the routers find a child row's parent and allow the relation of the two."""
    detail = f"reads the parent in {reads}"
    # Any other alias may be a replica of the parents' database.
    astray = reads == child and reads not in homes
    if astray:
        detail = (
            f"looks for the parent in the child's database {reads!r}. Let db_for_read return"
            f" {homes[0]!r}, never None and never the alias of the row"
        )
    elif not allowed:
        detail = "allow_relation refuses the relation. Let it return True"
    return Check(name=f"router {relation}", ok=allowed and not astray, detail=detail)


def trigger(alias: str, faults: Sequence[Fault]) -> Check:
    """Return whether the triggers are installed as the settings require."""
    detail = "as in the settings"
    if faults:
        texts = dict.fromkeys(
            f"{fault.subject}: {fault.text} ({fault.harm.value})" for fault in faults
        )
        detail = (
            f"{'; '.join(texts)}. Run `manage.py integrity install-triggers --database {alias}`"
        )
    return Check(name=f"triggers {alias}", ok=not faults, detail=detail)


def capture(label: str, way: str, *, could_trigger: bool) -> Check:
    """Return how the deletions of a parent are recorded, and whether another way is better."""
    detail = f"by {way}" if way != "both" else "by signal and trigger"
    if way == "off":
        detail = "not recorded"
    elif way != "trigger" and could_trigger:
        detail += (
            '. "trigger" would take less time, and record deletes that send no signal:'
            f" INTEGRITY['capture'] = {{{label!r}: 'trigger'}}, then `manage.py migrate`"
        )
    return Check(name=f"capture {label}", ok=True, detail=detail)


def audit(alias: str, days: float | None, *, removes: bool, old: bool) -> Check:
    """Return whether audit rows are removed once they are older than their retention."""
    detail = "kept forever" if days is None else f"older than {days:g} days is removed"
    if days is not None and not removes:
        detail = (
            f"this role may not remove what is older than {days:g} days, so that no worker removes"
            " its own traces. `manage.py integrity purge` does, as the tables' owner"
        )
        detail += ": some rows are older" if old else ""
    return Check(name=f"audit {alias}", ok=removes or not old or days is None, detail=detail)


def pressure(alias: str, unknown: Sequence[str], quiet: str) -> Check:
    """Return whether the load of a child database can be told; `quiet` says until when it rests."""
    detail = quiet or "its load is known"
    if unknown:
        detail = f"{'; '.join(unknown)}. Until then, work is slowed down"
    return Check(name=f"pressure {alias}", ok=not unknown, detail=detail)


def workers(rows: Iterable[HeartbeatRow]) -> Check:
    """Return whether a worker was seen lately."""
    age = heartbeats.youngest(rows)
    ok = not heartbeats.are_workers_silent(age)
    remedy = "" if ok else f". Start a worker on the queue {CONTROL}"
    return Check(name="workers", ok=ok, detail=_seen(age) + remedy)


def waiting(faults: Iterable[fault.Fault]) -> Iterator[Check]:
    """Return what waits in vain for a process: without Celery, there are no queues to ask."""
    for one in faults:
        if one.kind == "workers":
            detail = f"{sentence(one)} {one.remedy}"
            yield Check(name=f"work {one.subject}", ok=False, detail=detail)


def beat(row: HeartbeatRow | None) -> Check:
    """Return whether the ticks of beat arrive."""
    age = heartbeats.youngest([row] if row else [])
    ok = not heartbeats.is_beat_silent(age)
    remedy = "" if ok else f". Start `celery -A PROJECT beat`, and a worker on the queue {CONTROL}"
    return Check(name="beat", ok=ok, detail=_seen(age) + remedy)


def _seen(age: float) -> str:
    return "never seen" if age == NEVER else f"last seen {age:,.0f} s ago"


def work(row: DatabaseRow) -> Iterator[Check]:
    """Yield whether cascades into a child database are paused, blocked or overdue."""
    alias = row["database"]
    detail = "not paused"
    if row["paused"]:
        detail = row["reason"]
        if row["paused_kind"] not in ChildDatabase.REFUSALS:  # these name their own remedies
            detail += f". `manage.py integrity resume --database {alias}` resumes it"
    yield Check(name=f"paused {alias}", ok=not row["paused"], detail=detail)
    blocked = row["blocked"]
    detail = "none is blocked"
    if blocked:
        detail = (
            f"{blocked:,} are blocked. Fix the cause, then run `manage.py integrity retry --all`"
        )
    yield Check(name=f"cascades {alias}", ok=not blocked, detail=detail)
    detail = "none waits too long to be verified"
    if row["overdue"]:
        detail = (
            f"{row['unproven']:,} done but not verified for {row['waits_seconds'] or 0:,.0f} s:"
            f" {row['unproven_reason']}"
        )
    yield Check(name=f"unproven {alias}", ok=not row["overdue"], detail=detail)
    yield from _deadlines(row)


def _deadlines(row: DatabaseRow) -> Iterator[Check]:
    """Yield whether deadlines are missed or at risk; nothing where none is open."""
    if (margin := row["margin_seconds"]) is None:
        return
    risk, detail = row["risk"] or 0.0, f"the nearest deadline is in {span(max(0.0, margin))}"
    if row["late"]:
        why = row["reason"] or row["unproven_reason"]
        late = number_of(row["late"], "deletion")
        detail = f"{late} past the deadline, the first for {span(max(0.0, -margin))}"
        detail += f": {why}. {remedies.LATE}" if why else f". {remedies.LATE}"
    elif risk > 1:
        detail = f"{row['risk_reason']}. {remedies.AT_RISK}"
    is_met = not row["late"] and risk <= 1
    yield Check(name=f"deadlines {row['database']}", ok=is_met, detail=detail)


def identity(alias: str, mismatch: Mismatch | None) -> Check:
    """Return whether a child database belongs to the parents that it is worked on for."""
    detail = str(mismatch) if mismatch else "matches its parents"
    return Check(name=f"identity {alias}", ok=mismatch is None, detail=detail)


def names(unknown: Collection[Unknown]) -> Iterator[Check]:
    """Return whether the catalogue knows the names of all open work."""
    for row in unknown:
        yield Check(name=f"name {row['name']}", ok=False, detail=row["reason"])
    if not unknown:
        yield Check(name="names", ok=True, detail="all open work has current names")


def scan(row: ScanRow, period: float, made: dt.datetime | None, now: dt.datetime) -> Check:
    """Return whether the last finished scan of a relation in a database is recent enough.

    The first one may take as long from when the log was made.
    """
    longest, age = dt.timedelta(seconds=STALE_PERIODS * period), row["age_seconds"]
    label, alias = row["relation"], row["database"]
    if age is not None:
        ok, detail = age <= longest.total_seconds(), f"covers all up to {age:,.0f} s ago"
    else:
        ok, detail = made is not None and now <= made + longest, "no scan is finished"
        if made is not None and ok:
            detail += f" yet; the first one is due at {made + longest:%Y-%m-%d %H:%M %Z}".rstrip()
    if not ok:
        detail += (
            ". Start beat or `manage.py integrity drain --forever`,"
            f" or run `manage.py integrity scan --relation {label}`"
        )
    return Check(name=f"scan {label} in {alias}", ok=ok, detail=detail)


def brake(relation: str, reason: str) -> Check:
    """Return whether the brake lets a relation be repaired."""
    detail = "not engaged"
    if reason:
        detail = f"engaged: {reason}. Check both databases; see `manage.py integrity repair`"
    return Check(name=f"brake {relation}", ok=not reason, detail=detail)
