"""The deletion log's only writer. Each transition is one function here, safe to repeat.

Takes keys and claims; gives rows of the log. Due times are by the clock of the log's database.

Note [One column says when]: `due_at` is when a cascade may be claimed: at once while pending,
after the backoff while waiting, after the lease while running. So one condition and one index
serve all three, and a worker that died gives its claim back by doing nothing.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import random
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import connections, models, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Greatest, Now

from . import conf, relations, statements
from .models import Cascade, Deletion

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .relations import Model, Relation

#: Suspects that are entered, or looked at, at once.
SUSPECTS = 2_000
#: Deletions that are settled in one transaction.
SETTLED = 2_000
#: How long an unfinished cascade waits when somebody else holds its rows.
MOMENT_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A cascade that this worker holds until its lease ends."""

    id: int
    deletion: int
    parent: str
    #: The one relation that a scan found it by; "" for all relations of the parent.
    relation: str
    key: str | None
    targets: Mapping[str, str]
    attempts: int
    rows: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one worker claimed at once: cascades of one parent model into one database."""

    token: uuid.UUID
    using: str
    database: str
    cascades: tuple[Claimed, ...]
    state: Cascade.State = Cascade.State.RUNNING


def record(
    parent: Model,
    keys: Sequence[Any],
    targets: Sequence[Mapping[str, str] | None],
    *,
    source: Deletion.Source,
    using: str,
) -> list[str]:
    """Log the deletion of `keys` in the caller's transaction; gives them back as text.

    A key whose parent still has a row is left out: the log never condemns the living. What a
    trigger logged in this transaction is given back, too, and not logged again.
    """
    form, there = statements.on(using), set[str]()
    if conf.current().capture_of(parent._meta.label) != "signal":
        pk = relations.primary_key(parent)
        texts = [relations.format_key(pk, key) for key in keys]
        there = form.triggered_deletions(parent, texts, using=using)
        new = [at for at, text in enumerate(texts) if text not in there]
        keys, targets = [keys[at] for at in new], [targets[at] for at in new]
    logged = form.insert_deletions(parent, keys, targets, source, using=using) if keys else []
    return [*sorted(there), *logged]


def dispatch(*, using: str, limit: int) -> int:
    """Give recorded deletions their cascades, one per child database.

    One transaction for at most `limit` deletions, whose number it gives; several dispatchers share
    the work. Deletions of a model that this process does not know stay recorded: in a rolling
    deploy another one does.
    """
    known = list(relations.catalogue().parents)
    with transaction.atomic(using=using):
        recorded = (
            _deletions(using).filter(state=Deletion.State.RECORDED, parent__in=known).order_by("pk")
        )
        picked = list(_locked(recorded, using).values_list("pk", "parent", "relation")[:limit])
        for parent, relation in {(parent, relation) for _, parent, relation in picked}:
            found = [pk for pk, *about in picked if about == [parent, relation]]
            databases = relations.catalogue().databases_of(parent, relation)
            if databases:
                statements.on(using).insert_cascades(found, databases, using=using)
            _deletions(using).filter(_among("pk", found, using)).update(
                state=Deletion.State.DISPATCHED if databases else Deletion.State.CASCADED,
                reason="" if databases else "no policy leaves work in a child database",
                dispatched_at=Now(),
                cascaded_at=None if databases else Now(),
            )
    return len(picked)


def due_databases(*, using: str) -> frozenset[str]:
    """Child databases with a cascade that may be claimed now."""
    return _with_due(using, Cascade.CLAIMABLE)


def unverified_databases(*, using: str) -> frozenset[str]:
    """Child databases with a done cascade whose grace period is over."""
    return _with_due(using, [Cascade.State.DONE])


def _with_due(using: str, states: Sequence[Cascade.State]) -> frozenset[str]:
    return frozenset(
        alias
        for alias in relations.catalogue().child_databases
        # In the order of an index: `exists()` alone may read all that is not due.
        if _due(alias, using).filter(state__in=states).order_by("due_at", "pk").values("pk")[:1]
    )


def claim(
    database: str, *, using: str, limit: int, lease_seconds: float, owner: str = ""
) -> Claim | None:
    """Claim up to `limit` due cascades of `database`, of one parent model; None when none is due.

    The attempt is counted and committed before the work. A cascade that failed before is claimed
    in a smaller company, so that the one that kills its worker is found. `owner` is the task that
    claims, for `take_over`.
    """
    # One that was lost on its last attempt is for `block_lost`, however soon it comes again.
    due = (
        _due(database, using)
        .filter(state__in=Cascade.CLAIMABLE)
        .exclude(state=Cascade.State.RUNNING, attempts__gte=conf.current().attempts)
    )
    return _claim(
        due,
        Claim(token=uuid.uuid4(), using=using, database=database, cascades=()),
        limit,
        lease_seconds,
        attempts=F("attempts") + 1,
        owner=owner,
    )


def take_over(database: str, *, owner: str, using: str) -> int:
    """Make due at once what a dead run of the task `owner` had claimed; gives the number.

    For a message that the broker delivers again. Should that run be alive after all, both work,
    and only one of them finishes each cascade.
    """
    running = _cascades(using).filter(
        database=database, state=Cascade.State.RUNNING, due_at__gt=Now(), owner=owner
    )
    return running.update(due_at=Now())


def claim_done(
    database: str, *, oldest: int | None, using: str, limit: int, lease_seconds: float
) -> Claim | None:
    """Claim done cascades whose grace period is over, to verify them; None when there is none.

    `oldest` is the oldest transaction open in the child's database now: a cascade that ended
    while an older one was still open is not due yet (Note [The barrier] in verify.py).
    """
    due = _due(database, using).filter(state=Cascade.State.DONE)
    if oldest is not None:
        due = due.filter(Q(barrier__isnull=True) | Q(barrier__lte=oldest))
    held = Claim(
        token=uuid.uuid4(), using=using, database=database, cascades=(), state=Cascade.State.DONE
    )
    return _claim(due, held, limit, lease_seconds)


def _due(database: str, using: str) -> QuerySet[Cascade]:
    return _cascades(using).filter(database=database, due_at__lte=Now())


#: What a worker has to know of a cascade, and of its deletion.
_CLAIMED = (
    *("deletion_id", "attempts", "rows"),
    *(f"deletion__{name}" for name in ("parent", "relation", "key", "targets")),
)


def _claim(
    due: QuerySet[Cascade], claim: Claim, limit: int, lease_seconds: float, **changes: Any
) -> Claim | None:
    using = claim.using
    with transaction.atomic(using=using):
        first = due.select_related("deletion").only(*_CLAIMED).order_by("due_at", "pk")
        picked = _of_one_kind(list(_locked(first, using)[:limit]), limit)
        # What is locked is still due; by its key alone: Note [By key alone].
        mine = due if not connections[using].features.has_select_for_update else _cascades(using)
        changed = mine.filter(_among("pk", [each.pk for each in picked], using)).update(
            state=claim.state,
            claim=claim.token,
            due_at=Now() + dt.timedelta(seconds=lease_seconds),
            **changes,
        )
    if changed < len(picked):  # only where rows cannot be locked: somebody was faster
        won = set(_cascades(using).filter(claim=claim.token).values_list("pk", flat=True))
        picked = [each for each in picked if each.pk in won]
    if not picked:
        return None
    counted = 1 if changes else 0
    held = tuple(_claimed(cascade, cascade.attempts + counted) for cascade in picked)
    return dataclasses.replace(claim, cascades=held)


def _of_one_kind(rows: list[Cascade], limit: int) -> list[Cascade]:
    """The first row's companions: along the same keys, and fewer the more often it failed.

    One that is half done has many rows: it takes none that are new into its turn.
    """
    if not rows:
        return []
    first = rows[0]
    same = [each for each in rows if _kind(each) == _kind(first)]
    return same[: max(1, limit >> first.attempts)]


def _kind(cascade: Cascade) -> tuple[str, str, bool]:
    return cascade.deletion.parent, cascade.deletion.relation, bool(cascade.rows)


def _claimed(cascade: Cascade, attempts: int) -> Claimed:
    return Claimed(
        id=cascade.pk,
        deletion=cascade.deletion_id,
        parent=cascade.deletion.parent,
        relation=cascade.deletion.relation,
        key=cascade.deletion.key,
        targets=cascade.deletion.targets or {},
        attempts=attempts,
        rows=cascade.rows or {},
    )


def finish(
    claim: Claim, rows: Mapping[int, Mapping[str, int]], *, barrier: int | None
) -> list[int]:
    """Mark cascades done, with the rows removed for each; then their deletions, where complete.

    `barrier` is the first transaction of the child's database that had not begun when the last
    row was looked for. Gives the deletions' ids. What the claim no longer holds is left alone.
    """
    if not rows:
        return []
    finished = statements.on(claim.using).finish_cascades(
        claim.token,
        rows,
        barrier=barrier,
        grace_seconds=conf.current().grace_seconds,
        using=claim.using,
    )
    settle(using=claim.using, deletions=finished)
    return finished


def verify(claim: Claim, cascades: Sequence[int]) -> int:
    """Mark done cascades verified: no row was left. Gives their number."""
    changed = _held(claim, cascades).update(
        state=Cascade.State.VERIFIED, verified_at=Now(), claim=None
    )
    ids = {each.deletion for each in claim.cascades if each.id in set(cascades)}
    settle(using=claim.using, deletions=sorted(ids))
    return changed


def reopen(claim: Claim, cascades: Sequence[int], reason: str) -> int:
    """Send done cascades back to work, which `reason` explains. Gives their number."""
    wanted = set(cascades)
    ids = [each.deletion for each in claim.cascades if each.id in wanted]
    with transaction.atomic(using=claim.using):
        changed = _held(claim, cascades).update(
            state=Cascade.State.PENDING,
            claim=None,
            attempts=0,
            due_at=Now(),
            reason=reason,
        )
        _deletions(claim.using).filter(
            _among("pk", ids, claim.using), state=Deletion.State.CASCADED
        ).update(state=Deletion.State.DISPATCHED, cascaded_at=None)
    return changed


#: What follows when no cascade of a deletion is in one of those states any more, and when.
_NEXT = {
    Deletion.State.DISPATCHED: (Deletion.State.CASCADED, "cascaded_at", Cascade.OPEN),
    Deletion.State.CASCADED: (
        Deletion.State.VERIFIED,
        "verified_at",
        (*Cascade.OPEN, Cascade.State.DONE),
    ),
}


def settle(*, using: str, deletions: Sequence[int] | None = None) -> int:
    """Move deletions on whose cascades have all arrived: to cascaded, and from there to verified.

    It runs after the cascades' own change has committed, so the last database to arrive sees all
    others; without `deletions` it looks at every open one, which mends a death in between. Gives
    the number of moves.

    Note [By key alone]: the statistics of a log are always stale. A condition on the state, or "no
    cascade is open" as one statement, makes planners read all that is open, once for each deletion.
    """
    if deletions is not None:
        # Of most only one database has arrived: those need no lock.
        arrived = _arrived(sorted(deletions), Cascade.OPEN, using)
        return _settle(arrived, using, patient=True) if arrived else 0
    moved, last = 0, 0
    unsettled = _deletions(using).filter(state__in=[*_NEXT]).order_by("pk")
    while pks := list(unsettled.filter(pk__gt=last).values_list("pk", flat=True)[:SETTLED]):
        moved, last = moved + _settle(pks, using, patient=False), pks[-1]
    return moved


def _settle(pks: Sequence[int], using: str, *, patient: bool) -> int:
    moved = 0
    with transaction.atomic(using=using):
        rows = _deletions(using).filter(_among("pk", pks, using), state__in=[*_NEXT])
        locked = _locked(rows.order_by("pk"), using, patient=patient)
        standing = dict(locked.values_list("pk", "state"))
        for state, (following, moment, short_of) in _NEXT.items():
            there = [pk for pk, now in standing.items() if now == state]
            if arrived := _arrived(there, short_of, using):
                changes = {"state": following, moment: Now()}
                moved += _deletions(using).filter(_among("pk", arrived, using)).update(**changes)
                standing |= dict.fromkeys(arrived, following)
    return moved


def _arrived(pks: Sequence[int], short_of: Sequence[Cascade.State], using: str) -> list[int]:
    """Those deletions of which no cascade is in one of those states."""
    if not pks:
        return []
    cascades = _cascades(using).filter(_among("deletion_id", pks, using))
    short = {pk for pk, state in cascades.values_list("deletion_id", "state") if state in short_of}
    return [pk for pk in pks if pk not in short]


def purge(*, using: str) -> int:
    """Remove one batch of verified and cancelled deletions past the retention; gives its size."""
    settings = conf.current()
    old = Now() - dt.timedelta(days=settings.retention_days)
    ended = _deletions(using).filter(state__in=Deletion.ENDED, recorded_at__lte=old)
    with transaction.atomic(using=using):
        rows = ended.order_by("recorded_at")
        pks = list(_locked(rows, using).values_list("pk", flat=True)[: settings.purge_keys])
        if not pks:
            return 0
        cascades = _cascades(using).filter(_among("deletion_id", pks, using))
        cascades._raw_delete(using)
        return int(_deletions(using).filter(_among("pk", pks, using))._raw_delete(using))


def with_rows(claim: Claim, removed: Mapping[int, Mapping[str, int]]) -> Claim:
    """The claim with what has been removed for each cascade so far. Writes nothing."""
    cascades = tuple(
        dataclasses.replace(each, rows=dict(removed.get(each.id, each.rows)))
        for each in claim.cascades
    )
    return dataclasses.replace(claim, cascades=cascades)


def release(claim: Claim, rows: Mapping[int, Mapping[str, int]], *, reason: str) -> None:
    """Put unfinished cascades at the end of the queue, with the rows removed so far.

    No failure: the attempt is not counted. With a reason they wait for a moment first.
    """
    again = _uncounted(reason)
    untouched = [pk for pk, removed in rows.items() if not removed]
    _held(claim, untouched).update(**again)
    for pk, removed in rows.items():
        if removed:
            _held(claim, [pk]).update(**again, rows=dict(removed))


def hand_back(claim: Claim) -> None:
    """Put back all that the claim still holds, uncounted: its database cannot be reached.

    Keeps the rows that the claim says were removed so far.
    """
    _keep_rows(claim)
    _held(claim, [each.id for each in claim.cascades]).update(**_uncounted(""))


def _keep_rows(claim: Claim) -> None:
    for each in claim.cascades:
        if each.rows:
            _held(claim, [each.id]).update(rows=dict(each.rows))


def _uncounted(reason: str) -> dict[str, Any]:
    return {
        "state": Cascade.State.WAITING if reason else Cascade.State.PENDING,
        "claim": None,
        "attempts": Greatest(F("attempts") - 1, 0),
        "due_at": Now() + dt.timedelta(seconds=MOMENT_SECONDS) if reason else Now(),
        "reason": reason,
    }


def postpone(claim: Claim, reason: str) -> None:
    """Let failed cascades wait, longer each time; block those that had their last attempt."""
    settings = conf.current()
    _keep_rows(claim)
    spent = [each.id for each in claim.cascades if each.attempts >= settings.attempts]
    again = [each for each in claim.cascades if each.attempts < settings.attempts]
    _held(claim, spent).update(state=Cascade.State.BLOCKED, claim=None, reason=reason)
    for attempts in {each.attempts for each in again}:
        wait = dt.timedelta(seconds=backoff(attempts, settings))
        _held(claim, [each.id for each in again if each.attempts == attempts]).update(
            state=Cascade.State.WAITING, claim=None, due_at=Now() + wait, reason=reason
        )


def retry(deletions: Sequence[int] | None, *, using: str) -> int:
    """Put blocked cascades (of those deletions, or all) back to work; gives their number."""
    blocked = _cascades(using).filter(state=Cascade.State.BLOCKED)
    if deletions is not None:
        blocked = blocked.filter(deletion__in=deletions)
    return blocked.update(state=Cascade.State.PENDING, attempts=0, due_at=Now())


def hurry(*, using: str) -> int:
    """Make failed cascades due at once, whatever their backoff; gives their number."""
    waiting = Cascade.objects.using(using).filter(state=Cascade.State.WAITING)
    return waiting.update(due_at=Now())


def block_lost(*, using: str) -> int:
    """Block cascades whose worker died on each of their attempts; gives their number."""
    lost = _cascades(using).filter(
        state=Cascade.State.RUNNING,
        due_at__lte=Now(),
        attempts__gte=conf.current().attempts,
    )
    reason = "the worker was lost on every attempt"
    return lost.update(state=Cascade.State.BLOCKED, claim=None, reason=reason)


def backoff(attempts: int, settings: conf.Settings) -> float:
    """Seconds to wait after that many failures: doubling, capped, with a quarter of jitter."""
    wait: float = min(settings.backoff_seconds * 2 ** (attempts - 1), settings.backoff_seconds_max)
    return wait * random.uniform(0.75, 1.25)  # noqa: S311 (spreads load, guards nothing)


def suspect(
    relation: Relation, keys: Sequence[str], fence: Mapping[str, int], *, using: str
) -> list[str]:
    """Enter keys (as text) that a scan of `relation` found no parent for; gives the suspects.

    What an open deletion is about already is no suspect; what is one already gets the new fence.
    Call it in the transaction that saves the scan's cursor.
    """
    size = min(SUSPECTS, connections[using].features.max_query_params or SUSPECTS) // 2
    found: list[str] = []
    for start in range(0, len(keys), size):
        found += _suspect(relation, keys[start : start + size], fence, using)
    return found


def _suspect(
    relation: Relation, keys: Sequence[str], fence: Mapping[str, int], using: str
) -> list[str]:
    """`suspect` for one list of parameters."""
    name, by_key = relation.target.name, relation.target == relations.primary_key(relation.parent)
    busy, there = set[str](), dict[str, int]()
    # Only keys have an index; what holds another field is found through those of the states.
    for states in [Deletion.OPEN] if by_key else [[state] for state in Deletion.OPEN]:
        rows = _deletions(using).filter(
            **{"key__in" if by_key else f"targets__{name}__in": keys},
            parent=relation.parent._meta.label,
            relation__in=["", relation.label],
            state__in=states,
        )
        for row in rows.only("key", "targets", "state"):
            text = str(row.key if by_key else (row.targets or {})[name])
            if row.state == Deletion.State.SUSPECT:
                there[text] = row.pk
            else:
                busy.add(text)
    # Who is missed again is waited for again: a new parent of that key may be on its way now.
    known = _among("pk", list(there.values()), using)
    _deletions(using).filter(known).update(fence=dict(fence))
    found = [each for each in keys if each not in busy]
    if new := [each for each in found if each not in there]:
        statements.on(using).insert_suspects(
            relation, new, target=None if by_key else name, fence=fence, using=using
        )
    return found


def suspects(
    relation: Relation, *, older_than_seconds: float, using: str
) -> Iterator[list[Deletion]]:
    """The suspects of a relation that were seen first so long ago or longer, in batches."""
    after, seen_by = 0, Now() - dt.timedelta(seconds=older_than_seconds)
    rows = _deletions(using).filter(
        state=Deletion.State.SUSPECT, relation=relation.label, recorded_at__lte=seen_by
    )
    while batch := list(rows.filter(pk__gt=after).order_by("pk")[:SUSPECTS]):
        yield batch
        after = batch[-1].pk


def number_of_suspects(relation: Relation, *, using: str) -> int:
    """How many suspects of a relation there are."""
    rows = _deletions(using).filter(state=Deletion.State.SUSPECT, relation=relation.label)
    return rows.count()


def suspects_by_relation(*, using: str) -> dict[str, int]:
    """How many suspects each relation has; those without any are left out."""
    rows = _deletions(using).filter(state=Deletion.State.SUSPECT).values_list("relation")
    return dict(rows.annotate(models.Count("pk")).order_by())


def confirm(deletions: Sequence[int], *, using: str) -> int:
    """Let suspects become deletions, which take the path of every other one. Gives their number."""
    rows = _deletions(using).filter(_among("pk", deletions, using), state=Deletion.State.SUSPECT)
    return rows.update(
        state=Deletion.State.RECORDED, recorded_at=Now(), reason="found by a scan, and confirmed"
    )


def cancel(deletions: Iterable[int], reason: str, *, using: str) -> int:
    """Cancel deletions whose parent is alive, with all that is not finished of their cascades."""
    ids = list(deletions)
    with transaction.atomic(using=using):
        changed = (
            _deletions(using)
            .filter(_among("pk", ids, using), state__in=Deletion.OPEN)
            .update(state=Deletion.State.CANCELLED, reason=reason)
        )
        unverified = (*Cascade.OPEN, Cascade.State.DONE)
        cascades = _cascades(using).filter(_among("deletion_id", ids, using))
        cascades.filter(state__in=unverified).update(
            state=Cascade.State.CANCELLED, claim=None, reason=reason
        )
    return changed


def _cascades(using: str) -> QuerySet[Cascade]:
    return Cascade.objects.using(using)


def _deletions(using: str) -> QuerySet[Deletion]:
    return Deletion.objects.using(using)


def _held(claim: Claim, ids: Sequence[int]) -> QuerySet[Cascade]:
    return _cascades(claim.using).filter(
        _among("pk", ids, claim.using), claim=claim.token, state=claim.state
    )


def _among(name: str, ids: Sequence[int], using: str) -> Any:
    """The condition that the column `name` holds one of `ids`."""
    return statements.on(using).among(name, ids)


def _locked(rows: QuerySet[Any], using: str, *, patient: bool = False) -> QuerySet[Any]:
    """The rows, locked for this transaction; unless `patient`, those that nobody else works on."""
    features = connections[using].features
    if not features.has_select_for_update:
        return rows
    return rows.select_for_update(
        skip_locked=features.has_select_for_update_skip_locked and not patient,
        no_key=features.has_select_for_no_key_update,
        of=("self",) if features.has_select_for_update_of else (),
    )
