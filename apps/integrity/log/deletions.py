"""Deletions: recorded, dispatched, settled when their cascades have arrived, cancelled, purged."""

from __future__ import annotations

import datetime as dt
import functools
import operator
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from .. import backends, conf, relations
from ..models import Cascade, Deletion
from ..relations.keys import format_key
from ..relations.relation import primary_key
from . import tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..relations import Model


#: Deletions that are settled in one transaction.
SETTLED = 2_000


def record(
    parent: Model,
    keys: Sequence[Any],
    targets: Sequence[Mapping[str, str | None] | None],
    *,
    source: Deletion.Source,
    using: str,
) -> list[str]:
    """Log the deletion of `keys` in the caller's transaction; gives them back as text.

    A key whose parent still has a row is left out: the log never condemns the living. What a
    trigger logged in this transaction is given back, too, and not logged again.
    """
    backend, there = backends.log_backend(using), set[str]()
    if conf.current().by_trigger(parent._meta.label):
        pk = primary_key(parent)
        texts = [format_key(pk, key) for key in keys]
        there = backend.triggered_deletions(parent, texts, using=using)
        new = [at for at, text in enumerate(texts) if text not in there]
        keys, targets = [keys[at] for at in new], [targets[at] for at in new]
    logged = backend.insert_deletions(parent, keys, targets, source, using=using) if keys else []
    return [*sorted(there), *logged]


def dispatch(*, using: str, limit: int) -> tuple[int, frozenset[str]]:
    """Give recorded deletions their cascades, one per child database.

    One transaction for at most `limit` deletions, whose number it gives, with the databases of
    their cascades; several dispatchers share the work. Deletions of a model, or along a relation,
    that this process does not know stay recorded: in a rolling deploy another one does.
    """
    reached = frozenset[str]()
    with transaction.atomic(using=using):
        rows = tables.deletions(using).filter(leading(), state=Deletion.State.RECORDED)
        recorded = tables.locked(rows.order_by("pk"), using)
        picked = list(recorded.values_list("pk", "parent", "relation")[:limit])
        for parent, relation in {(parent, relation) for _, parent, relation in picked}:
            found = [pk for pk, *about in picked if about == [parent, relation]]
            databases = relations.catalogue().databases_of(parent, relation)
            reached |= frozenset(databases)
            if databases:
                backends.log_backend(using).insert_cascades(found, databases, using=using)
            tables.deletions(using).filter(tables.id_in("pk", found, using)).update(
                state=Deletion.State.DISPATCHED if databases else Deletion.State.CASCADED,
                reason="" if databases else "no policy leaves work in a child database",
                dispatched_at=Now(),
                cascaded_at=None if databases else Now(),
            )
    return len(picked), reached


def leading(database: str | None = None) -> Q:
    """Which deletions are of parents, and along relations, that the catalogue knows.

    With `database`, those of them that cascade into it.
    """
    labels: dict[str, list[str]] = {}
    for each in relations.catalogue().relations:
        if database is None or (each.policy.cascades and database in each.child_databases):
            labels.setdefault(each.parent._meta.label, []).append(each.label)
    of_scans = (Q(parent=parent, relation__in=found) for parent, found in labels.items())
    # An empty list is no condition: then nothing is known.
    return functools.reduce(operator.or_, of_scans, Q(parent__in=[*labels], relation=""))


#: What a kept deletion says; its cascades say what was left.
TAKEN_OVER = "the value was taken over: it belongs to a living row"
#: How the reason of what an operator gives up begins, and what a deletion says of such a cascade.
GIVEN_UP = "given up by an operator"
IN_PART = "a part of it was given up by an operator; its cascades say which and why"
#: What follows when no cascade of a deletion is in one of those states any more, and when.
_NEXT = {
    Deletion.State.DISPATCHED: (Deletion.State.CASCADED, "cascaded_at", Cascade.OPEN),
    Deletion.State.CASCADED: (
        Deletion.State.VERIFIED,
        "verified_at",
        (*Cascade.OPEN, Cascade.State.DONE),
    ),
}


def advance(*, using: str, deletions: Sequence[int] | None = None) -> int:
    """Move deletions on whose cascades have all arrived: to cascaded, and from there to their end.

    That is verified; or kept, where one of the cascades is; or cancelled, where one was given up.

    It runs after the cascades' own change has committed, so the last database to arrive sees all
    others; without `deletions` it looks at every open one, which mends a death in between. Gives
    the number of moves.

    Note [By key alone]: the statistics of a log are always stale. A condition on the state, or "no
    cascade is open" as one statement, makes planners read all that is open, once for each deletion.
    """
    if deletions is not None:
        # Of most only one database has arrived: those need no lock.
        arrived = _arrived(sorted(deletions), Cascade.OPEN, _states(deletions, using))
        return _settle(arrived, using, skip_locked=False) if arrived else 0
    moved, last = 0, 0
    unsettled = tables.deletions(using).filter(state__in=[*_NEXT]).order_by("pk")
    while pks := list(unsettled.filter(pk__gt=last).values_list("pk", flat=True)[:SETTLED]):
        moved, last = moved + _settle(pks, using, skip_locked=True), pks[-1]
    return moved


def _settle(pks: Sequence[int], using: str, *, skip_locked: bool) -> int:
    moved = 0
    with transaction.atomic(using=using):
        rows = tables.deletions(using).filter(tables.id_in("pk", pks, using), state__in=[*_NEXT])
        locked = tables.locked(rows.order_by("pk"), using, skip_locked=skip_locked)
        standing = dict(locked.values_list("pk", "state"))
        found = _states(list(standing), using)
        for state, (following, moment, short_of) in _NEXT.items():
            there = [pk for pk, now in standing.items() if now == state]
            arrived = _arrived(there, short_of, found)
            if following is Deletion.State.VERIFIED:
                kept = _kept(arrived, found)
                moved += _move(kept, using, Deletion.State.KEPT, reason=TAKEN_OVER)
                lost = _given_up([pk for pk in arrived if pk not in kept], found, using)
                moved += _move(lost, using, Deletion.State.CANCELLED, reason=IN_PART)
                arrived = [pk for pk in arrived if pk not in {*kept, *lost}]
            moved += _move(arrived, using, following, **{moment: Now()})
            standing |= dict.fromkeys(arrived, following)
    return moved


def _move(pks: Sequence[int], using: str, state: Deletion.State, **changes: Any) -> int:
    if not pks:
        return 0
    rows = tables.deletions(using).filter(tables.id_in("pk", pks, using))
    return rows.update(**changes, **_come_to(state))


def _come_to(state: Deletion.State) -> dict[str, Any]:
    """Return what changes of a deletion that comes to that state; of one that ends, when it did."""
    return {"state": state} | ({"ended_at": Now()} if state in Deletion.ENDED else {})


def _kept(pks: Sequence[int], found: Sequence[tuple[int, str]]) -> list[int]:
    """Return those deletions that have a kept cascade. Pure."""
    kept = {pk for pk, state in found if state == Cascade.State.KEPT}
    return [pk for pk in pks if pk in kept]


def _given_up(pks: Sequence[int], found: Sequence[tuple[int, str]], using: str) -> list[int]:
    """Return those deletions of which an operator has given a cascade up: nobody proves them."""
    cancelled = {pk for pk, state in found if state == Cascade.State.CANCELLED}
    if not (wanted := [pk for pk in pks if pk in cancelled]):
        return []
    rows = tables.cascades(using).filter(
        tables.id_in("deletion_id", wanted, using),
        state=Cascade.State.CANCELLED,
        reason__startswith=GIVEN_UP,
    )
    return sorted({*rows.values_list("deletion_id", flat=True)})


def _states(deletions: Sequence[int], using: str) -> list[tuple[int, str]]:
    """The state of each cascade, with its deletion."""
    cascades = tables.cascades(using).filter(tables.id_in("deletion_id", deletions, using))
    return list(cascades.values_list("deletion_id", "state"))


def _arrived(
    pks: Sequence[int], short_of: Sequence[Cascade.State], found: Sequence[tuple[int, str]]
) -> list[int]:
    """Those deletions of which no cascade is in one of those states. Pure.

    A state that this process does not know, of a newer release, is no end.
    """
    ended = {*Cascade.State.values} - {*short_of}
    short = {pk for pk, state in found if state not in ended}
    return [pk for pk in pks if pk not in short]


def cancel(deletions: Iterable[int], reason: str, *, using: str) -> int:
    """Cancel suspects whose parent is alive, and what an operator gives up, with its cascades."""
    ids = list(deletions)
    with transaction.atomic(using=using):
        changed = (
            tables.deletions(using)
            .filter(tables.id_in("pk", ids, using), state__in=Deletion.OPEN)
            .update(reason=reason, **_come_to(Deletion.State.CANCELLED))
        )
        unverified = (*Cascade.OPEN, Cascade.State.DONE)
        cascades = tables.cascades(using).filter(tables.id_in("deletion_id", ids, using))
        cascades.filter(state__in=unverified).update(
            state=Cascade.State.CANCELLED, claim=None, reason=reason
        )
    return changed


def purge(*, using: str) -> int:
    """Remove one batch of deletions whose end is past the retention; return its size.

    One that left rows alone stays until somebody has acknowledged it: its alarm is not over.
    """
    settings = conf.current()
    old = Now() - dt.timedelta(days=settings.retention_days)
    told_nobody = tables.cascades(using).filter(Cascade.UNACKNOWLEDGED).values("deletion_id")
    ended = tables.deletions(using).filter(state__in=Deletion.ENDED, ended_at__lte=old)
    ended = ended.exclude(pk__in=told_nobody)
    with transaction.atomic(using=using):
        rows = ended.order_by("ended_at")
        pks = list(tables.locked(rows, using).values_list("pk", flat=True)[: settings.purge_keys])
        if not pks:
            return 0
        cascades = tables.cascades(using).filter(tables.id_in("deletion_id", pks, using))
        cascades._raw_delete(using)
        return int(
            tables.deletions(using).filter(tables.id_in("pk", pks, using))._raw_delete(using)
        )
