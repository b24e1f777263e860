"""Deletions: recorded, dispatched in batches, cancelled, purged."""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import operator
from collections import Counter
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import BooleanField, Exists, ExpressionWrapper, F, OuterRef, Q, Sum
from django.db.models.functions import Coalesce

from .. import backends, conf, relations
from ..backends import deadlines
from ..backends.transactions import atomic, retried
from ..models import Cascade, Deletion, Stated
from ..models.moments import ServerNow
from ..relations.keys import format_key
from ..relations.relation import primary_key
from . import names, parts, scopes, tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from django.db.models import QuerySet

    from ..relations import Model


#: The most deletions of one batch.
BATCH = 1_000
#: The reason of a deletion that no relation cascades.
NOTHING_TO_DO = "no policy leaves work in a child database"
#: How the reason of a cascade begins that an operator gave up.
GIVEN_UP = "given up by an operator"


def record(
    parent: Model,
    keys: Sequence[Any],
    targets: Sequence[Mapping[str, str | None] | None],
    stated: Stated | None = None,
    *,
    source: Deletion.Source,
    using: str,
) -> list[str]:
    """Log the deletion of `keys` in the caller's transaction; return the logged keys as text.

    What is `stated` is recorded with each. A key whose parent still has a row is skipped. Keys that
    a trigger logged in this transaction are returned as well, and are not logged again.
    """
    backend, triggered = backends.log_backend(using), set[str]()
    if conf.current().deadline_days:
        stated = _with_deadline(stated, parent._meta.label)
    if conf.current().by_trigger(parent._meta.label):
        pk = primary_key(parent)
        texts = [format_key(pk, key) for key in keys]
        triggered = backend.triggered_deletions(parent, texts, using=using)
        new = [at for at, text in enumerate(texts) if text not in triggered]
        keys, targets = [keys[at] for at in new], [targets[at] for at in new]
    logged = []
    if keys:
        logged = backend.insert_deletions(parent, keys, targets, source, stated, using=using)
    return [*sorted(triggered), *logged]


def _with_deadline(stated: Stated | None, parent: str) -> Stated | None:
    """Return what is stated, and the deadline of the parent where none is stated. Pure."""
    days = conf.current().deadline_days_of(parent)
    if days is None or (stated and stated.deadline):
        return stated
    return (stated or Stated())._replace(deadline=str(round(days * deadlines.DAY_SECONDS)))


def dispatch(*, using: str, limit: int) -> tuple[int, frozenset[str]]:
    """Put recorded deletions into batches, each with one cascade per child database.

    Return the number of deletions, at most `limit`, and the databases of their cascades. Each batch
    is a transaction of its own; several dispatchers share the work. Deletions of a model or
    relation that this process does not know stay recorded: in a rolling deploy another process
    knows it.
    """
    catalogue, most = relations.catalogue(), min(BATCH, limit)
    wanted, reached = catalogue.databases_by_names, frozenset[str]()
    recorded = _make_first_batch(wanted, most, using=using)
    if recorded is None:
        recorded = dict.fromkeys(names.recorded_names(using=using), 0)
    dispatched = sum(recorded.values())
    for (parent, relation), first in recorded.items():
        if not catalogue.knows(parent, None, relation):
            continue
        databases, number = wanted.get((parent, relation), ()), first
        if first in {0, most} and dispatched < limit:  # nothing was tried, or more are recorded
            more = _dispatch(parent, relation, databases, limit - dispatched, using=using)
            dispatched, number = dispatched + more, first + more
        reached |= frozenset(databases if number else ())
    return dispatched, reached


@retried
def _make_first_batch(
    wanted: Mapping[tuple[str, str], Sequence[str]], most: int, *, using: str
) -> dict[tuple[str, str], int] | None:
    """Return what is recorded under which names, and how many of these are in a batch now."""
    if not wanted:
        return None
    days = _days(wanted) if conf.current().deadline_days is not None else None
    return backends.log_backend(using).dispatch_batch(wanted, most, using=using, days=days)


def _days(names: Iterable[tuple[str, str]]) -> dict[str, float | None]:
    """Return parent → within how many days it has to be verified."""
    return {parent: conf.current().deadline_days_of(parent) for parent, _ in names}


def _dispatch(
    parent: str, relation: str, databases: Sequence[str], limit: int, *, using: str
) -> int:
    """Dispatch up to `limit` recorded deletions of those names; return their number."""
    dispatched, number, most = 0, 0, 0
    wanted = {(parent, relation): databases} if databases else {}
    while number == most and dispatched < limit:
        most = min(BATCH, limit - dispatched)
        made = _make_first_batch(wanted, most, using=using)
        if made is None:
            number = _make_batch(parent, relation, databases, most, using=using)
        else:
            number = sum(made.values())
        dispatched += number
    return dispatched


@retried
def _make_batch(
    parent: str, relation: str, databases: Sequence[str], most: int, *, using: str
) -> int:
    """Make one batch of up to `most` recorded deletions; cancel them where nothing has to be done.

    Return their number; 0 where another process was faster, because rows cannot be locked. Its
    batch may have the same id, so nothing of this one may be committed then.
    """
    rows = tables.recorded(using).filter(parent=parent, relation=relation).order_by("pk")
    days, changes = None, dict[str, Any]()
    if conf.current().deadline_days is not None:
        days = _days([(parent, relation)])
    columns = ("recorded_at",) if days is None else ("recorded_at", "deadline")
    if days and (lasts := days[parent]) is not None:
        changes["deadline"] = Coalesce("deadline", F("recorded_at") + dt.timedelta(days=lasts))
    with atomic(using):
        locked = tables.locked(rows, using).values_list("pk", *columns)[:most]
        recorded = {pk: moments for pk, *moments in locked}
        ids = [*recorded]
        wanted = tables.recorded(using).filter(tables.id_in("pk", ids, using))
        if not databases:
            wanted.update(cancelled_at=ServerNow(), reason=NOTHING_TO_DO)
        elif not ids or wanted.update(batch=ids[0], **changes) < len(ids):
            transaction.set_rollback(True, using=using)
            return 0
        if databases:
            name = (parent, relation)
            made = deadlines.cascades_of(name, recorded, databases, days, using=using)
            tables.cascades(using).bulk_create(made)
    return len(ids)


def leading(database: str | None = None) -> Q:
    """Return the condition for deletions whose parent and relation the catalogue knows.

    With `database`, only those that cascade into it.
    """
    labels: dict[str, list[str]] = {}
    for relation in relations.catalogue().relations:
        if database is None or (relation.policy.cascades and database in relation.child_databases):
            labels.setdefault(relation.parent._meta.label, []).append(relation.label)
    of_scans = (Q(parent=parent, relation__in=names) for parent, names in labels.items())
    # Without relations the lists are empty, and nothing matches.
    return functools.reduce(operator.or_, of_scans, Q(parent__in=[*labels], relation=""))


@retried
def cancel(deletions: Iterable[int], reason: str, *, using: str) -> int:
    """Cancel open deletions and their cascades, for an operator; return how many were open."""
    ids = sorted({*deletions})
    with atomic(using):
        rows = tables.deletions(using).filter(tables.id_in("pk", ids, using))
        locked = tables.locked(rows.order_by("pk"), using, skip_locked=False)
        standing = dict(locked.filter(cancelled_at__isnull=True).values_list("pk", "batch"))
        recorded = [pk for pk, batch in standing.items() if batch is None]
        unverified = tables.of_deletions(standing, using).filter(
            state__in=[*Cascade.OPEN, Cascade.State.DONE]
        )
        whole = parts.separate(unverified, standing, using=using, holder=False)
        end(tables.cascades(using).filter(tables.id_in("pk", [*whole], using)), reason)
        cancelled = sorted({*recorded, *(pk for group in whole.values() for pk in group)})
        changed = tables.deletions(using).filter(tables.id_in("pk", cancelled, using))
        return changed.update(cancelled_at=ServerNow(), reason=reason)


def end(cascades: QuerySet[Cascade], reason: str) -> int:
    """Cancel those cascades, each with its scope; return their number."""
    number = 0
    for parent, relation in sorted({*cascades.order_by().values_list("parent", "relation")}):
        number += cascades.filter(parent=parent, relation=relation).update(
            state=Cascade.State.CANCELLED,
            claim=None,
            due_at=None,
            ended_at=ServerNow(),
            reason=reason,
            scope=scopes.current(parent, relation, using=cascades.db),
        )
    return number


@retried
def purge(
    *,
    using: str,
    days: float | None = None,
    export: Callable[[Sequence[int]], object] | None = None,
) -> int:
    """Remove some batches that ended before the retention; return the number of deletions.

    `days` replaces the retention. `export` gets the ids of the deletions before they are removed;
    if it raises, they stay. If the process dies after it, or another transaction was in the way, it
    gets them once more.

    A batch with rows that were kept stays until an operator acknowledges it: its alarm is open.
    """
    most, old = conf.current().purge_keys, _old(days)
    with atomic(using):
        cancelled, ended = _purgeable(old, using)
        ids = [*cancelled.values_list("pk", flat=True)[:most]]
        batches = list(dict.fromkeys(ended.values_list("batch", flat=True)[:most]))
        batches = _first(batches, most - len(ids), using)
        over = _locked_whole(batches, old, using)
        rows = tables.cascades(using).filter(tables.id_in("pk", [*over], using))
        ids += {pk for deletions in over.values() for pk in deletions}
        if not ids:
            return 0
        going = sorted({*ids})
        if export:
            export(going)
        rows._raw_delete(using)
        gone = tables.deletions(using).filter(tables.id_in("pk", going, using))
        return int(gone._raw_delete(using))


def _first(batches: Sequence[int], room: int, using: str) -> list[int]:
    """Return the first of the batches: as many as have `room`, the last one perhaps in part."""
    cascades = tables.cascades(using).filter(tables.id_in("batch", batches, using)).order_by()
    sizes = Counter[int]()
    for batch, _, size in cascades.values_list("batch", "database").annotate(Sum("size")):
        sizes[batch] = max(sizes[batch], size)
    before = itertools.accumulate((sizes[batch] for batch in batches), initial=0)
    return [batch for batch, number in zip(batches, before, strict=False) if number < room]


def _locked_whole(batches: Sequence[int], old: Any, using: str) -> dict[int, list[int]]:
    """Lock the cascades of those batches; return each with its deletions.

    Batches of which somebody holds or has just reopened a cascade are left out.
    """
    rows = tables.cascades(using).filter(tables.id_in("batch", batches, using))
    mine = {*tables.locked(rows.order_by("pk"), using).values_list("pk", flat=True)}
    columns = rows.annotate(over=ExpressionWrapper(~_stays(old), BooleanField()))
    found = list(columns.values_list("pk", "batch", "deletions", "over"))
    passed = {batch for pk, batch, _, over in found if not over or pk not in mine}
    return {pk: deletions for pk, batch, deletions, _ in found if batch not in passed}


def _stays(old: Any) -> Q:
    """Return the condition for cascades that are not over, or not for so long."""
    return Q(ended_at__isnull=True) | Q(ended_at__gt=old) | Cascade.UNACKNOWLEDGED


def past_retention(
    days: float | None = None, *, using: str
) -> tuple[QuerySet[Deletion], QuerySet[Cascade]]:
    """Return what `purge` removes, in its order: deletions without a batch, and cascades."""
    return _purgeable(_old(days), using)


def _old(days: float | None) -> Any:
    return ServerNow() - dt.timedelta(days=conf.current().retention_days if days is None else days)


def _purgeable(old: Any, using: str) -> tuple[QuerySet[Deletion], QuerySet[Cascade]]:
    """Return cancelled deletions without a batch, and cascades of batches that have all ended."""
    cancelled = tables.deletions(using).filter(cancelled_at__lte=old, batch__isnull=True)
    others = tables.cascades(using).filter(_stays(old), batch=OuterRef("batch"))
    ended = tables.cascades(using).filter(~Exists(others), ended_at__lte=old)
    return cancelled.order_by("cancelled_at"), ended.order_by("ended_at")
