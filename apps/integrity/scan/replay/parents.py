"""Parents older than the ledgers of their children: those that are back are deleted again.

By Django's own delete, each in a transaction of its own, so that everything else follows: its rows
in the same database, the PROTECT checks, and a deletion in the log for all other databases. A row
of which it is not certain that it is the erased one is reported, and nothing else: see Note [A
reused key] in judgement.py. Parents that are not there are recorded as deleted, because their rows
may be left in other databases.
"""

from __future__ import annotations

import copy
import datetime as dt
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import Error, connections, models, transaction
from django.db.models import QuerySet

from ... import capture, conf, relations
from ...backends import clocks, schemas, visibility
from ...backends.connections import reach, watched
from ...capture import recording
from ...control import actions, identity
from ...exceptions import (
    CrossDatabaseError,
    DatabaseHindered,
    FilteredRead,
    InvalidKey,
    NotTheParents,
    UnknownName,
)
from ...exceptions.redaction import plain, reason_of_error
from ...log import ledger, tallies
from ...log.ledger import Erased
from ...models import Deletion
from ...relations import discovery, stored
from ...relations.keys import format_key, parse_key
from ...relations.relation import primary_key
from ..brake import tolerated
from . import judgement
from .judgement import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from ...relations import Model

#: Findings of a log that are listed; all are counted.
LISTED = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A row with the key of an erased parent."""

    erased: Erased
    verdict: Verdict
    reason: str = ""


@dataclass(slots=True, kw_only=True)
class Restored:
    """What a look at the parents of one log has found, and what was done."""

    log: str
    found: dict[tuple[str, str | None], Found] = field(default_factory=dict)
    #: Erased parents that are not there, and that the log does not know.
    gone: dict[tuple[str, str | None], Erased] = field(default_factory=dict)
    #: How many were deleted again, and how many recorded that are not there.
    erased: int = 0
    recorded: int = 0
    #: Parent → why the brake refuses to delete its rows again.
    brakes: dict[str, str] = field(default_factory=dict)
    #: Parent and key → why it could not be deleted again.
    refused: dict[str, str] = field(default_factory=dict)
    #: Child database → why its ledger was not read to its end, or its rows not counted.
    hindered: dict[str, str] = field(default_factory=dict)

    def note(self, rows: Sequence[Found], gone: Sequence[Erased]) -> None:
        """Add what the ledger of one child names."""
        for one in rows:
            if one.verdict is Verdict.BACK or one.erased.name not in self.found:
                self.found[one.erased.name] = one
        for lost in gone:
            known = self.gone.get(lost.name, lost)
            self.gone[lost.name] = known._replace(targets={**lost.targets, **known.targets})

    @property
    def back(self) -> list[Found]:
        """Return those that are back for certain."""
        return [one for one in self.found.values() if one.verdict is Verdict.BACK]


def outlook(using: str, *, databases: Sequence[str], since: dt.datetime | None) -> Restored:
    """Return which erased parents are back. Changes nothing.

    A child database that cannot be worked on leaves out what only its ledger names. Raises the
    errors of the parents' database.
    """
    done = Restored(log=using)
    for database in databases:
        try:
            with watched(database):
                for rows, gone in _read(database, using, since):
                    done.note(rows, gone)
        except DatabaseHindered as error:
            if error.database != database:
                raise
            done.hindered[database] = error.sentence
    done.brakes = _brakes(done.back, using)
    return done


def replay(
    using: str,
    *,
    databases: Sequence[str],
    since: dt.datetime | None,
    actor: str,
    override: str = "",
) -> Restored:
    """Delete again what is back, unless the brake refuses it or is overridden. Audited."""
    done = outlook(using, databases=databases, since=since)
    if override and done.brakes:
        for label in done.brakes:
            actions.audit("override brake", label, actor=actor, reason=override, using=using)
        done.brakes = {}
    try:
        for one in done.back:
            if one.erased.parent not in done.brakes:
                _erase(one.erased, done, actor)
        for lost in done.gone.values():
            _record(lost, done, actor)
    finally:  # what an error or Ctrl-C cut short has changed something, too
        if done.erased or done.recorded:
            reason = f"{done.erased:,} parents erased again, {done.recorded:,} recorded again"
            actions.audit("replay", using, actor=actor, reason=reason, using=using)
    return done


def _brakes(back: Sequence[Found], using: str) -> dict[str, str]:
    """Return why rows of a parent may not be deleted: too many of them are back."""
    settings, brakes = conf.current(), dict[str, str]()
    for label, number in Counter(one.erased.parent for one in back).items():
        rows: QuerySet[Any] = QuerySet(model=relations.catalogue().parent(label), using=using)
        if number > settings.brake_keys and number > tolerated(total := rows.count(), settings):
            brakes[label] = (
                f"{number:,} of {total:,} rows would be deleted, more than"
                f" {settings.brake_share:.1%} and {settings.brake_keys:,}"
            )
    return brakes


def _read(
    database: str, using: str, since: dt.datetime | None
) -> Iterator[tuple[list[Found], list[Erased]]]:
    """Yield rows with keys that the ledger names and the log does not, and what is not there.

    Without `since`, only what the log would still have: before, it may have been purged, and a row
    may have been made again on purpose.
    """
    reach(database)
    if not tallies.is_kept_in(database):
        return
    log, kept = identity.of_log(using), dt.timedelta(days=conf.current().retention_days)
    since = since or clocks.now(database) - kept
    for page in ledger.unknown_to_log(database, log=log, using=using, since=since):
        by_parent = defaultdict[str, list[Erased]](list)
        for one in page:
            by_parent[one.parent].append(one)
        for label, erased in by_parent.items():
            found, gone = _rows(label, erased, using)
            yield found, [one for one in gone if not one.relation]


def _rows(label: str, erased: list[Erased], using: str) -> tuple[list[Found], list[Erased]]:
    """Return the rows that the parents' table has now, and those that it has not for certain."""
    try:
        parent = relations.catalogue().parent(label)
        pk = primary_key(parent)
        named = [one for one in erased if one.key is not None]
        keys = {one.key: parse_key(pk, one.key) for one in named if one.key is not None}
        place = schemas.elsewhere(parent, using)
        rows = _instances(parent, [*keys.values()], using) if keys and not place else []
    except (FilteredRead, InvalidKey, UnknownName) as error:
        return _untold(erased, plain(error)), []
    if place:  # the connection leads to a table of another schema
        return _untold(erased, plain(NotTheParents(label, using, *place))), []
    by_key = {format_key(pk, row.pk): row for row in rows}
    found = [_found(one, row) for one in named if (row := by_key.get(one.key or ""))]
    return found, [one for one in named if one.key not in by_key]


def _untold(erased: Sequence[Erased], reason: str) -> list[Found]:
    return [Found(erased=one, verdict=Verdict.UNKNOWN, reason=reason) for one in erased]


def _instances(parent: Model, keys: Sequence[Any], using: str) -> list[models.Model]:
    """Return the rows of those keys, past all managers. Raises `FilteredRead`."""
    with visibility.whole(using, parent):
        rows: QuerySet[Any] = QuerySet(model=parent, using=using)
        return list(rows.filter(stored.referring(primary_key(parent), keys, using)))


def _found(erased: Erased, row: models.Model) -> Found:
    values = recording.targets_of(type(row), row, "", fresh=True) or {}
    created = [getattr(row, one.attname) for one in judgement.creation_fields(type(row))]
    verdict, reason = judgement.verdict(erased, values, created)
    return Found(erased=erased, verdict=verdict, reason=reason)


def _erase(erased: Erased, done: Restored, actor: str) -> None:
    """Delete one row again, if it still is the erased one. One transaction."""
    name = f"{erased.parent} {erased.key}"
    if conf.current().is_off(erased.parent):
        done.refused[name] = "INTEGRITY['capture'] is \"off\" for this model"
        return
    try:
        with _stated(erased, done.log, actor), transaction.atomic(using=done.log):
            done.erased += _deleted(erased, done.log)
    except (Error, CrossDatabaseError) as error:
        done.refused[name] = reason_of_error(error)


def _deleted(erased: Erased, using: str) -> bool:
    """Delete the row in the caller's transaction; return False where it is not there any more."""
    parent = relations.catalogue().parent(erased.parent)
    pk, key = primary_key(parent), erased.key or ""
    rows: QuerySet[Any] = QuerySet(model=parent, using=using)
    rows = rows.filter(stored.referring(pk, [parse_key(pk, key)], using))
    if connections[using].features.has_select_for_update:
        rows = rows.select_for_update()
    row = rows.first()
    if row is None or _found(erased, row).verdict is not Verdict.BACK:
        return False
    before, kept = ledger.newest_of(erased.parent, key, using=using), copy.copy(row)
    models.Model.delete(row, using=using)  # not the model's own, which may only hide it
    if ledger.newest_of(erased.parent, key, using=using) == before:
        capture.record([kept], using=using)
    return True


def _stated(erased: Erased, using: str, actor: str) -> AbstractContextManager[None]:
    """Let the log and the receipt say that the parent was erased before."""
    at = f"{judgement.aware(erased.at).astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
    return capture.because(
        actor=actor, reason=f"erased before at {at}, undone by a restore of {using}"
    )


def _record(gone: Erased, done: Restored, actor: str) -> None:
    """Record a deletion that the log has lost, unless its parent is alive by now.

    The ledgers may not name all that relations refer to. Then its rows are left to a scan.
    """
    parent = relations.catalogue().parent(gone.parent)
    wanted = {one.name for one in discovery.targets(parent)}
    if conf.current().is_off(gone.parent) or wanted - gone.targets.keys():
        return
    row = parse_key(primary_key(parent), gone.key or ""), gone.targets or None
    with _stated(gone, done.log, actor), transaction.atomic(using=done.log):
        source = Deletion.Source.API
        done.recorded += len(recording.insert(parent, [row], source=source, using=done.log))
