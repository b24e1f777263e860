"""Deletions: recorded, dispatched, advanced with their cascades, cancelled, purged."""

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


#: Deletions that `advance` moves in one transaction.
ADVANCED = 2_000


def record(
    parent: Model,
    keys: Sequence[Any],
    targets: Sequence[Mapping[str, str | None] | None],
    *,
    source: Deletion.Source,
    using: str,
) -> list[str]:
    """Log the deletion of `keys` in the caller's transaction; return the logged keys as text.

    A key whose parent still has a row is skipped. Keys that a trigger logged in this transaction
    are returned as well, and are not logged again.
    """
    backend, triggered = backends.log_backend(using), set[str]()
    if conf.current().by_trigger(parent._meta.label):
        pk = primary_key(parent)
        texts = [format_key(pk, key) for key in keys]
        triggered = backend.triggered_deletions(parent, texts, using=using)
        new = [at for at, text in enumerate(texts) if text not in triggered]
        keys, targets = [keys[at] for at in new], [targets[at] for at in new]
    logged = backend.insert_deletions(parent, keys, targets, source, using=using) if keys else []
    return [*sorted(triggered), *logged]


def dispatch(*, using: str, limit: int) -> tuple[int, frozenset[str]]:
    """Create the cascades of recorded deletions, one per child database.

    Return the number of deletions and the databases of their cascades. One transaction handles at
    most `limit` deletions; several dispatchers share the work. Deletions of a model or relation
    that this process does not know stay recorded: in a rolling deploy another process knows it.
    """
    reached = frozenset[str]()
    with transaction.atomic(using=using):
        picked = _recorded(limit, using)
        for parent, relation in {(parent, relation) for _, parent, relation in picked}:
            pks = [pk for pk, *about in picked if about == [parent, relation]]
            databases = relations.catalogue().databases_of(parent, relation)
            reached |= frozenset(databases)
            if databases:
                backends.log_backend(using).insert_cascades(pks, databases, using=using)
            tables.deletions(using).filter(tables.id_in("pk", pks, using)).update(
                state=Deletion.State.DISPATCHED if databases else Deletion.State.CASCADED,
                reason="" if databases else "no policy leaves work in a child database",
                dispatched_at=Now(),
                cascaded_at=None if databases else Now(),
            )
    return len(picked), reached


def _recorded(limit: int, using: str) -> list[tuple[int, str, str]]:
    """Lock and return recorded deletions, with parent and relation, that the catalogue knows.

    Names that it does not know are rare, and the condition for those that it knows is long. So it
    is in the statement only where the first rows have unknown names.
    """
    rows = tables.deletions(using).filter(state=Deletion.State.RECORDED).order_by("pk")
    knows = relations.catalogue().knows
    for condition in (Q, leading):
        recorded = tables.locked(rows.filter(condition()), using)
        picked = list(recorded.values_list("pk", "parent", "relation")[:limit])
        names = {(parent, relation) for _, parent, relation in picked}
        if all(knows(parent, None, relation) for parent, relation in names):
            break
    return picked


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


#: The reason of a kept deletion; its cascades name the rows that were left.
TAKEN_OVER = "the value was taken over: it belongs to a living row"
#: How the reason of a cascade begins that an operator gave up, and the reason of its deletion.
GIVEN_UP = "given up by an operator"
IN_PART = "a part of it was given up by an operator; its cascades say which and why"
#: State → the next state, its time column, and the cascade states that keep a deletion from it.
_NEXT = {
    Deletion.State.DISPATCHED: (Deletion.State.CASCADED, "cascaded_at", Cascade.OPEN),
    Deletion.State.CASCADED: (
        Deletion.State.VERIFIED,
        "verified_at",
        (*Cascade.OPEN, Cascade.State.DONE),
    ),
}


def advance(*, using: str, deletions: Sequence[int] | None = None) -> int:
    """Advance deletions whose cascades have all finished; return the number of changes.

    They become cascaded, and then verified; or kept, if a cascade is kept; or cancelled, if an
    operator gave a cascade up.

    It runs after the change of the cascades has committed, so the last database sees all others.
    Without `deletions` it checks every open deletion, which recovers from a crash in between.

    Note [By key alone]: the statistics of a log are always stale. With a condition on the state, or
    with "no cascade is open" in one statement, planners read all open rows for each deletion.
    """
    if deletions is not None:
        # Most wait for other databases: those need no lock.
        arrived = _arrived(sorted(deletions), Cascade.OPEN, _states(deletions, using))
        return _advance(arrived, using, skip_locked=False) if arrived else 0
    moved, last = 0, 0
    unfinished = tables.deletions(using).filter(state__in=[*_NEXT]).order_by("pk")
    while pks := list(unfinished.filter(pk__gt=last).values_list("pk", flat=True)[:ADVANCED]):
        moved, last = moved + _advance(pks, using, skip_locked=True), pks[-1]
    return moved


def _advance(pks: Sequence[int], using: str, *, skip_locked: bool) -> int:
    moved = 0
    with transaction.atomic(using=using):
        rows = tables.deletions(using).filter(tables.id_in("pk", pks, using), state__in=[*_NEXT])
        locked = tables.locked(rows.order_by("pk"), using, skip_locked=skip_locked)
        standing = dict(locked.values_list("pk", "state"))
        states = _states(list(standing), using)
        for state, (following, moment, short_of) in _NEXT.items():
            entered = [pk for pk, now in standing.items() if now == state]
            arrived = _arrived(entered, short_of, states)
            if following is Deletion.State.VERIFIED:
                kept = _kept(arrived, states)
                moved += _move(kept, using, Deletion.State.KEPT, reason=TAKEN_OVER)
                lost = _given_up([pk for pk in arrived if pk not in kept], states, using)
                moved += _move(lost, using, Deletion.State.CANCELLED, reason=IN_PART)
                arrived = [pk for pk in arrived if pk not in {*kept, *lost}]
            moved += _move(arrived, using, following, **{moment: Now()})
            standing |= dict.fromkeys(arrived, following)
    return moved


def _move(pks: Sequence[int], using: str, state: Deletion.State, **changes: Any) -> int:
    if not pks:
        return 0
    rows = tables.deletions(using).filter(tables.id_in("pk", pks, using))
    return rows.update(**changes, **_state_changes(state))


def _state_changes(state: Deletion.State) -> dict[str, Any]:
    """Return the changes of a deletion that enters that state, with `ended_at` for a final one."""
    return {"state": state} | ({"ended_at": Now()} if state in Deletion.ENDED else {})


def _kept(pks: Sequence[int], states: Sequence[tuple[int, str]]) -> list[int]:
    """Return those deletions that have a kept cascade. Pure."""
    kept = {pk for pk, state in states if state == Cascade.State.KEPT}
    return [pk for pk in pks if pk in kept]


def _given_up(pks: Sequence[int], states: Sequence[tuple[int, str]], using: str) -> list[int]:
    """Return the deletions with a cascade that an operator gave up: they are never verified."""
    cancelled = {pk for pk, state in states if state == Cascade.State.CANCELLED}
    if not (wanted := [pk for pk in pks if pk in cancelled]):
        return []
    rows = tables.cascades(using).filter(
        tables.id_in("deletion_id", wanted, using),
        state=Cascade.State.CANCELLED,
        reason__startswith=GIVEN_UP,
    )
    return sorted({*rows.values_list("deletion_id", flat=True)})


def _states(deletions: Sequence[int], using: str) -> list[tuple[int, str]]:
    """Return the deletion and the state of each cascade."""
    cascades = tables.cascades(using).filter(tables.id_in("deletion_id", deletions, using))
    return list(cascades.values_list("deletion_id", "state"))


def _arrived(
    pks: Sequence[int], short_of: Sequence[Cascade.State], states: Sequence[tuple[int, str]]
) -> list[int]:
    """Return the deletions that have no cascade in one of those states. Pure.

    A state that this process does not know, from a newer release, does not count as finished.
    """
    ended = {*Cascade.State.values} - {*short_of}
    short = {pk for pk, state in states if state not in ended}
    return [pk for pk in pks if pk not in short]


def cancel(deletions: Iterable[int], reason: str, *, using: str) -> int:
    """Cancel open deletions and their cascades: of living parents, or given up by an operator."""
    ids = list(deletions)
    with transaction.atomic(using=using):
        changed = (
            tables.deletions(using)
            .filter(tables.id_in("pk", ids, using), state__in=Deletion.OPEN)
            .update(reason=reason, **_state_changes(Deletion.State.CANCELLED))
        )
        unverified = (*Cascade.OPEN, Cascade.State.DONE)
        cascades = tables.cascades(using).filter(tables.id_in("deletion_id", ids, using))
        cascades.filter(state__in=unverified).update(
            state=Cascade.State.CANCELLED, claim=None, reason=reason
        )
    return changed


def purge(*, using: str) -> int:
    """Remove one batch of deletions whose end is past the retention; return its size.

    A deletion with rows that were kept stays until an operator acknowledges it: its alarm is open.
    """
    settings = conf.current()
    old = Now() - dt.timedelta(days=settings.retention_days)
    unacknowledged = tables.cascades(using).filter(Cascade.UNACKNOWLEDGED).values("deletion_id")
    ended = tables.deletions(using).filter(state__in=Deletion.ENDED, ended_at__lte=old)
    ended = ended.exclude(pk__in=unacknowledged)
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
