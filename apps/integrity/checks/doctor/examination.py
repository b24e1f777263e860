"""Looks at everything, and hands what it saw to the verdicts. Changes nothing."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from django.apps import apps
from django.db import Error, connections, router
from django.db.models import QuerySet

from ... import conf, relations, report
from ...backends import clocks, missing_tables, visibility
from ...backends.connections import reach, watched
from ...backends.rights import may_delete
from ...capture import triggers
from ...control import identity, retention
from ...exceptions import DatabaseHindered, DatabaseUnreachable, RouterFailed
from ...isolation.redaction import plain, reason_of_error
from ...models import Audit
from ...relations import homes
from ...routing import CONTROL, queue_for
from . import clock_skew, verdicts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ...relations import Model, Relation


def examine(said: verdicts.Broker | None) -> list[verdicts.Check]:
    """Look at everything; `said` is what the broker said, None without Celery. Changes nothing."""
    found = relations.catalogue()
    logs, aliases = found.log_databases, _aliases()
    reasons = {alias: _unreachable(alias) for alias in aliases}
    up = [alias for alias in aliases if not reasons[alias]]
    checks = [verdicts.database(alias, reasons[alias] or _unwritable(alias)) for alias in aliases]
    checks.append(verdicts.crossing(len(found.relations), tuple(connections)))
    checks += [_routes(each, child) for each in found.relations for child in each.child_databases]
    checks += [verdicts.migration(alias, _denied(alias)) for alias in aliases]
    checks += (there := [_tables(alias) for alias in up])
    checks += [_readable(model, alias) for model, alias in _ends() if alias in up]
    checks += [each for alias in up for each in _hidden(alias)]
    checks.append(verdicts.broker(said))
    if said and not said.unreachable:
        names = (CONTROL, *map(queue_for, found.child_databases))
        checks += [verdicts.queue(name, said.consumers) for name in names]
    sound = {each.name.partition(" ")[2] for each in there if each.ok}
    checks += [verdicts.trigger(a, triggers.faults(a)) for a in triggers.databases() if a in sound]
    checks += [
        verdicts.identity(alias, identity.mismatch(alias, using=home))
        for alias in found.child_databases
        for home in found.homes(alias)
        if {alias, home} <= sound
    ]
    checks += [_audit(alias) for alias in logs if alias in sound]
    if any(alias in up for alias in logs) and {a for a in logs if a in up} <= sound:
        checks += _figures(celery=said is not None)
        checks += _clocks([alias for alias in logs if alias in up], up)
    return checks


def broken() -> verdicts.Check | None:
    """The first database that does not answer or lacks a table; None if there is none."""
    for alias in _aliases():
        check = verdicts.database(alias, _unreachable(alias) or _unwritable(alias))
        check = _tables(alias) if check.ok else check
        if not check.ok:
            return check
    ends = (_readable(model, alias) for model, alias in _ends())
    return next((each for each in ends if not each.ok), None)


def _ends() -> list[tuple[Model, str]]:
    """Both ends of each relation: the model, and a database that holds rows of it."""
    pairs: dict[tuple[Model, str], None] = {}
    for each in relations.catalogue().relations:
        pairs |= {(each.parent, home): None for home in each.parent_databases}
        pairs |= {(each.child, alias): None for alias in each.child_databases}
    return list(pairs)


def _readable(model: Model, alias: str) -> verdicts.Check:
    error = hidden = ""
    try:
        QuerySet(model=model, using=alias).order_by().exists()
        hidden = visibility.reason(model, alias)
    except Error as raised:
        absent, _, _ = missing_tables.table(model, using=alias).partition(". Run")
        error = absent or reason_of_error(raised)
    return verdicts.readable(model._meta.label, alias, error, hidden)


def _hidden(alias: str) -> Iterator[verdicts.Check]:
    """Tables below the children, and our own, of which only a part is shown in that database."""
    ends = {model for model, home in _ends() if home == alias}
    below = [
        model
        for each in relations.catalogue().relations
        for model, home in missing_tables.tables(each)
        if home == alias
    ]
    own = [each for each in apps.get_app_config("integrity").get_models() if not each._meta.proxy]
    for model, (_, hidden) in visibility.causes({*below, *own} - ends, alias).items():
        yield verdicts.readable(model._meta.label, alias, "", hidden)


def _aliases() -> tuple[str, ...]:
    found = relations.catalogue()
    return tuple(dict.fromkeys((*found.log_databases, *found.child_databases)))


def _figures(*, celery: bool) -> Iterator[verdicts.Check]:
    status, period = report.status(), conf.current().scan_period_seconds
    if celery:
        yield verdicts.workers(status["workers"])
        yield verdicts.beat(status["beat"])
    for row in status["databases"]:
        yield from verdicts.work(row)
    yield from verdicts.names(status["unknown"])
    for each in status["scans"]:
        yield verdicts.scan(each, period)
    for label, reason in {each["relation"]: each["brake"] for each in status["scans"]}.items():
        yield verdicts.brake(label, reason)


def _clocks(logs: Sequence[str], up: Sequence[str]) -> Iterator[verdicts.Check]:
    """Compare the clocks of this process, of the servers and of whoever a log has seen."""
    readings = {}
    for alias in filter(clocks.can_tell, up):
        with contextlib.suppress(Error):  # it went away meanwhile
            readings[alias] = clocks.read(alias)
    for log in [each for each in logs if each in readings][:1]:
        yield clock_skew.clocks(log, readings, report.pulses(log))


def _unreachable(alias: str) -> str:
    try:
        reach(alias)
    except DatabaseUnreachable as error:
        return error.sentence
    return ""


def _unwritable(alias: str) -> str:
    """Why a database that answers takes no writes now, or ""; changes nothing in it."""
    try:
        with contextlib.suppress(Error), watched(alias):  # others, other checks find
            identity.touch(alias)
    except DatabaseHindered as error:
        return error.sentence
    return ""


def _wanted(alias: str) -> dict[str, str]:
    """Model name → table, of what has to be in that database."""
    return {
        str(model._meta.model_name): model._meta.db_table
        for model in apps.get_app_config("integrity").get_models()
        if not model._meta.proxy and relations.holds(alias, model._meta.model_name)
    }


def _tables(alias: str) -> verdicts.Check:
    return verdicts.tables(
        alias, _wanted(alias).values(), connections[alias].introspection.table_names()
    )


def _denied(alias: str) -> list[str]:
    return [
        table
        for name, table in _wanted(alias).items()
        if not router.allow_migrate(alias, "integrity", model_name=name)
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


def _audit(alias: str) -> verdicts.Check:
    days, old = conf.current().audit_retention_days, False
    with contextlib.suppress(Error):  # workers need not be able to read it
        old = days is not None and retention.has_old_audit(days, using=alias)
    removes = may_delete(Audit._meta.db_table, alias)
    return verdicts.audit(alias, days, removes=removes, old=old)
