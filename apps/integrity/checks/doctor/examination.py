"""Examine the installation and pass the observations to the verdicts. Changes nothing."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

from django.db import Error, connections, transaction
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import QuerySet
from django.utils import timezone

from ... import conf, relations
from ...backends import addresses, clocks, missing_tables, server_limits, visibility
from ...backends.connections import silence, watched
from ...backends.rights import may_delete
from ...capture import triggers
from ...control import identity, pacing, retention, sampling
from ...exceptions import DatabaseHindered, RouterFailed
from ...exceptions.redaction import plain, reason_of_error
from ...models import Audit
from ...relations import homes
from ...report import heartbeats
from ...report.fault import Fault
from ...report.status import collect_status
from ...routing import queue_names
from . import brokers, clock_skew, unexported, verdicts

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Mapping, Sequence

    from ...relations import Model, Relation


def examine(broker: brokers.Broker | None) -> list[verdicts.Check]:
    """Examine everything; `broker` is the state of the broker, None without Celery."""
    catalogue = relations.catalogue()
    logs, aliases = catalogue.log_databases, catalogue.databases
    reasons = {alias: silence(alias) for alias in aliases}
    up = [alias for alias in aliases if not reasons[alias]]
    checks = [verdicts.database(alias, reasons[alias] or _unwritable(alias)) for alias in aliases]
    checks.append(
        verdicts.crossing(len(catalogue.relations), tuple(connections), catalogue.reasons)
    )
    checks += [
        _routes(relation, child)
        for relation in catalogue.relations
        for child in relation.child_databases
    ]
    checks += [verdicts.migration(alias, _denied(alias)) for alias in aliases]
    checks += (tables := [_tables(alias) for alias in up])
    checks += [check for alias in up for check in _rows(alias)]
    checks += [_pressure(a) for a in catalogue.child_databases if a in up and _sampled(a)]
    checks += [verdicts.step(place, along) for place, along in catalogue.along_steps.items()]
    checks.append(brokers.broker(broker))
    sound = {check.name.partition(" ")[2] for check in tables if check.ok}
    if broker and not (broker.unreachable or broker.eager):
        names = queue_names(catalogue.places)
        consumers = _consumers(broker, [alias for alias in logs if alias in sound])
        checks += [brokers.queue(name, consumers, names) for name in names]
    checks += [verdicts.trigger(a, triggers.faults(a)) for a in triggers.databases() if a in sound]
    checks += [
        verdicts.capture(
            label,
            conf.current().capture_of(label),
            could_trigger=not triggers.hindrance(label, parent),
        )
        for label, parent in catalogue.parents.items()
    ]
    checks += [
        verdicts.identity(alias, identity.mismatch(alias, using=home))
        for alias in catalogue.child_databases
        for home in catalogue.homes(alias)
        if {alias, home} <= sound
    ]
    checks += [
        check(alias) for alias in logs if alias in sound for check in (_audit, unexported.check)
    ]
    if any(alias in up for alias in logs) and {a for a in logs if a in up} <= sound:
        checks += _figures(up, broker)
        checks += _clocks([alias for alias in logs if alias in up], up)
    return checks


def broken() -> verdicts.Check | None:
    """Return the check of the first database that does not answer or lacks a table, else None."""
    aliases = relations.catalogue().databases
    for alias in aliases:
        check = verdicts.database(alias, silence(alias) or _unwritable(alias))
        check = _tables(alias) if check.ok else check
        if not check.ok:
            return check
    rows = (check for alias in aliases for check in _rows(alias))
    return next((check for check in rows if not check.ok), None)


def _consumers(broker: brokers.Broker, logs: Sequence[str]) -> Mapping[str, int] | None:
    """Return the workers of each queue: as they answer, or as their heartbeats say."""
    if broker.asked:
        return broker.consumers
    rows = [row for log in logs for row in heartbeats.heartbeats_in(log)]
    alive = [row for row in rows if not heartbeats.are_workers_silent(row["seconds_ago"])]
    queues = {(row["name"], queue) for row in alive for queue in row["queues"] or ()}
    return Counter(queue for _, queue in queues)


def _rows(alias: str) -> list[verdicts.Check]:
    """Return whether the engine can read all rows of each table that it needs in that database."""
    needed = missing_tables.needed().get(alias, [])
    own = missing_tables.own(alias)
    hidden = visibility.causes([*needed, *own], alias)
    checks = [_readable(model, alias, hidden.get(model, ("", ""))[1]) for model in needed]
    ours = {model: hidden[model][1] for model in own if model in hidden}
    return checks + [_verdict(model, alias, "", why) for model, why in ours.items()]


def _readable(model: Model, alias: str, hidden: str) -> verdicts.Check:
    error = ""
    try:
        QuerySet(model=model, using=alias).order_by().exists()
    except Error as raised:
        absent, _, _ = missing_tables.missing_table(model, using=alias).partition(". Run")
        error = absent or reason_of_error(raised)
    return _verdict(model, alias, error, hidden)


def _verdict(model: Model, alias: str, error: str, hidden: str) -> verdicts.Check:
    return verdicts.readable(model._meta.label, alias, error, hidden)


def _figures(up: Sequence[str], broker: brokers.Broker | None) -> Iterator[verdicts.Check]:
    status, period = collect_status(), conf.current().scan_period_seconds
    seen = [
        row for row in status["workers"] if not heartbeats.are_workers_silent(row["seconds_ago"])
    ]
    yield from _connections(up, len(seen))
    if broker:
        if not broker.eager:
            yield verdicts.workers(status["workers"])
        yield verdicts.beat(status["beat"])
    else:
        yield from verdicts.waiting(map(Fault.of, status["faults"]))
    for database in status["databases"]:
        yield from verdicts.work(database)
    yield from verdicts.names(status["unknown"])
    logs = {each.label: each.parent_databases[0] for each in relations.catalogue().relations}
    made = {using: _made_at(using) for using in {*logs.values()} & {*up}}
    for row in status["scans"]:
        yield verdicts.scan(row, period, made.get(logs[row["relation"]]), timezone.now())
    for label, reason in {row["relation"]: row["brake"] for row in status["scans"]}.items():
        yield verdicts.brake(label, reason)


def _made_at(using: str) -> dt.datetime | None:
    """Return when the log was made in that database; None where nothing says.

    The role of a worker may not read Django's table of migrations.
    """
    first: Any = None
    with contextlib.suppress(Error), transaction.atomic(using=using):
        applied = MigrationRecorder(connections[using]).applied_migrations()
        first = applied.get((Audit._meta.app_label, "0001_initial"))
    return None if first is None else first.applied


def _clocks(logs: Sequence[str], up: Sequence[str]) -> Iterator[verdicts.Check]:
    """Compare the clocks of this process, of the servers, and of processes with a heartbeat."""
    readings = {}
    for alias in filter(clocks.can_tell, up):
        with contextlib.suppress(Error):  # it went away meanwhile
            readings[alias] = clocks.read(alias)
    for log in [alias for alias in logs if alias in readings][:1]:
        yield clock_skew.clocks(log, readings, heartbeats.heartbeats_in(log))


def _connections(up: Sequence[str], workers: int) -> Iterator[verdicts.Check]:
    """Compare what the workers may want of each server with what it takes."""
    catalogue, servers = relations.catalogue(), dict[str, list[str]]()
    for alias in up:
        servers.setdefault(addresses.server(alias), []).append(alias)
    for server, aliases in servers.items():
        children = {*aliases}.intersection(catalogue.child_databases)
        others = {*aliases} - children
        each = min(len(children), conf.current().child_connections_max) + len(others)
        if conf.current().second_connection:  # see cascade/second_walk.py
            each += min(len(children), 1) + len(others)
        with contextlib.suppress(Error):  # it went away meanwhile
            if most := server_limits.max_connections(aliases[0]):
                yield verdicts.connections(server, workers * each, workers, most)


def _unwritable(alias: str) -> str:
    """Return why a database that answers takes no writes now, or "". Changes nothing in it."""
    try:
        with contextlib.suppress(Error), watched(alias):  # others, other checks find
            identity.probe_write(alias)
    except DatabaseHindered as error:
        return error.sentence
    return ""


def _tables(alias: str) -> verdicts.Check:
    return verdicts.tables(alias, missing_tables.absent(missing_tables.own(alias), using=alias))


def _denied(alias: str) -> list[str]:
    return [
        model._meta.db_table
        for model in missing_tables.own(alias)
        if not homes.allows_migrate(alias, model)
    ]


def _routes(relation: Relation, child: str) -> verdicts.Check:
    row = homes.hint(relation.child, child)
    parent = homes.hint(relation.parent, relation.parent_databases[0])
    try:
        alone = homes.answer("db_for_read", relation.parent)
    except RouterFailed as error:
        return verdicts.Check(name=f"router {relation.label}", ok=False, detail=plain(error))
    try:
        beside = homes.answer("db_for_read", relation.parent, instance=row)
    except RouterFailed:  # it wants values of the row
        beside = alone
    return verdicts.route(
        relation.label,
        child=child,
        homes=relation.parent_databases,
        reads=beside or child,  # where Django looks if nobody answers
        allowed=homes.allows_relation(parent, row),
    )


def _sampled(alias: str) -> bool:
    return conf.current().pressure_on(alias).is_sampled


def _pressure(alias: str) -> verdicts.Check:
    sample = sampling.sample(alias)
    return verdicts.pressure(alias, sample.unknown, pacing.quiet_reason(alias))


def _audit(alias: str) -> verdicts.Check:
    days, old = conf.current().audit_retention_days, False
    with contextlib.suppress(Error):  # workers need not be able to read it
        old = days is not None and retention.has_old_audit(days, using=alias)
    removes = may_delete(Audit._meta.db_table, alias)
    return verdicts.audit(alias, days, removes=removes, old=old)
