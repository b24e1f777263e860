"""What deletions need, and whether it is there: databases, tables, triggers, processes, queues.

Reads and asks; changes nothing. Each finding says what to do.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import Error, connections, router

from . import claims, conf, control, relations, report, triggers
from .exceptions import DatabaseUnreachable
from .models import Audit, Cascade, ChildDatabase, Deletion, Heartbeat, Identity, Scan
from .report import BEAT_SILENT_SECONDS
from .routing import CONTROL, queue_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .relations import Model
    from .report import DatabaseRow, Pulse, ScanRow

#: The tables of a deletion log.
LOG: tuple[Model, ...] = (Deletion, Cascade, Scan, ChildDatabase, Heartbeat, Audit, Identity)
#: A scan may be late by as many periods.
PERIODS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at; `detail` says what was seen, and what to do about it."""

    name: str
    ok: bool
    detail: str
    unreachable: bool = False


def examine() -> list[Check]:
    """Look at everything. A database that does not answer keeps no other from being looked at."""
    found = relations.catalogue()
    checks = [
        each
        for alias in dict.fromkeys((*found.log_databases, *found.child_databases))
        for each in _database(alias, log=alias in found.log_databases)
    ]
    if any(each.ok and each.name.startswith("tables of the log") for each in checks):
        status = report.status()
        checks += [child(row) for row in status["databases"]]
        checks += [scanned(row, conf.current().scan_period_seconds) for row in status["scans"]]
        checks.append(beat(status["beat"]))
    return [*checks, *_queues()]


def _database(alias: str, *, log: bool) -> Iterator[Check]:
    try:
        control.reach(alias)
    except DatabaseUnreachable as error:
        detail = f"it does not answer: {error.reason}"
        yield Check(name=f"database {alias}", ok=False, detail=detail, unreachable=True)
        return
    yield Check(name=f"database {alias}", ok=True, detail="it answers")
    wanted = LOG if log else (Identity,)
    name = f"tables of the log in {alias}" if log else f"identity in {alias}"
    there = connections[alias].introspection.table_names()
    allowed = [model for model in wanted if router.allow_migrate_model(alias, model)]
    yield tables(name, alias, wanted, allowed, there)
    if alias in triggers.databases():
        yield _triggers(alias)


def tables(
    name: str, alias: str, wanted: Sequence[Model], allowed: Sequence[Model], there: Sequence[str]
) -> Check:
    """Whether the tables of those models are there, and the routers would make them. Pure."""
    missing = [each._meta.db_table for each in wanted if each._meta.db_table not in there]
    if not missing:
        return Check(name=name, ok=True, detail="all there")
    denied = [each._meta.label for each in wanted if each not in allowed]
    remedy = f"run `manage.py migrate --database {alias}`"
    if denied:
        remedy = (
            f"a router's allow_migrate() denies {', '.join(denied)}: let it answer"
            f" relations.holds(db, model_name) for the app label 'integrity', then {remedy}"
        )
    return Check(name=name, ok=False, detail=f"{', '.join(missing)} not there: {remedy}")


def _triggers(alias: str) -> Check:
    name = f"triggers in {alias}"
    try:
        missing = triggers.missing(alias)
    except Error as error:
        return Check(name=name, ok=False, detail=claims.reason_of(error))
    if missing:
        remedy = f"run `manage.py integrity install-triggers --database {alias}`"
        return Check(name=name, ok=False, detail=f"none for {', '.join(missing)}: {remedy}")
    return Check(name=name, ok=True, detail="as the settings say")


def child(row: DatabaseRow) -> Check:
    """Whether work on a child database goes on. Pure."""
    name, alias = f"work in {row['database']}", row["database"]
    if row["state"] == "waiting":
        remedy = "" if row["unreachable"] else f": `manage.py integrity resume --database {alias}`"
        return Check(
            name=name, ok=False, detail=f"{row['reason']}{remedy}", unreachable=row["unreachable"]
        )
    if row["blocked"]:
        detail = (
            f"{row['blocked']:,} blocked: mend the cause, then `manage.py integrity retry --all`"
        )
        return Check(name=name, ok=False, detail=detail)
    return Check(name=name, ok=True, detail=f"{row['backlog']:,} waiting")


def scanned(row: ScanRow, period_seconds: float) -> Check:
    """Whether the relation was scanned lately, and the brake lets its orphans go. Pure."""
    name = f"scan of {row['relation']} in {row['database']}"
    if row["brake"]:
        detail = f"the brake refuses to repair: {row['brake']}; see `manage.py integrity repair`"
        return Check(name=name, ok=False, detail=detail)
    age = row["age_seconds"]
    if age is None or age > PERIODS * period_seconds:
        since = "never finished" if age is None else f"finished {age / 3600:,.1f} h ago"
        remedy = "is beat alive, and `integrity.scan` in its timetable? `manage.py integrity scan`"
        return Check(name=name, ok=False, detail=f"{since}: {remedy}")
    return Check(name=name, ok=True, detail=f"covers what is older than {age:,.0f} s")


def beat(seen: Pulse | None) -> Check:
    """Whether beat gives its sign of life. Pure."""
    since = f"seen {seen['seconds_ago']:,.0f} s ago" if seen else "never seen"
    ok = seen is not None and seen["seconds_ago"] <= BEAT_SILENT_SECONDS
    remedy = "" if ok else ": start it (`celery -A config beat`), or run `integrity drain` by cron"
    return Check(name="beat", ok=ok, detail=since + remedy)


def _queues() -> Iterator[Check]:
    if importlib.util.find_spec("celery") is None:
        yield Check(name="celery", ok=True, detail="not installed: `integrity drain` does the work")
        return
    from .tasks import consumers

    try:
        taken = consumers()
    except Exception as error:  # noqa: BLE001 (whatever a broker raises)
        detail = f"it does not answer: {claims.reason_of(error)}"
        yield Check(name="broker", ok=False, detail=detail, unreachable=True)
        return
    yield Check(name="broker", ok=True, detail="it answers")
    for name in (CONTROL, *map(queue_for, relations.catalogue().child_databases)):
        yield queue(name, taken)


def queue(name: str, taken: Mapping[str, Sequence[str]]) -> Check:
    """Whether some worker takes messages from the queue. Pure."""
    workers = taken.get(name, ())
    detail = ", ".join(workers) or f"nobody takes from it: start a worker with `-Q {name}`"
    return Check(name=f"queue {name}", ok=bool(workers), detail=detail)
